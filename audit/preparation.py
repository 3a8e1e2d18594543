"""What attacks train on public data: once, before the first cell, with losses and samples kept beside the results."""

import csv
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from torch import Tensor

from seethrough.attacks import Prepared
from seethrough.common.files import make_directory, write_bytes_atomically
from seethrough.common.spelling import label_of

from .case import Case, public_batch
from .precision import computing_in
from .specification.error_messages import SpecError
from .trial import visible

FOLDER = "generators"


def prepare_attacks(cases: Iterable[Case], directory: Path, tell: Callable[[str], None]) -> Iterator[str]:
    """Prepare the attack of every case on the public data that its threat model grants; `tell` hears how far it is.

    Losses and samples are put into `directory`/generators; yields a sentence for each pair of files.
    Raises: SpecError, if what an attack was given does not fit the data.
    """
    granted = [case for case in cases if "public" in case.threat.grants]
    wanted = {(case.setting.name, label_of(case.attack)): case for case in granted}
    done: set[bytes] = set()
    for (setting, attack), case in wanted.items():
        public, space = public_batch(case.setting, case.seed), case.setting.data.load().space
        name, began = f"{attack} on {setting}", time.perf_counter()
        try:
            with computing_in(case.setting.precision):
                made = case.attack.prepare(public, space, _told(tell, name))
        except ValueError as error:
            raise SpecError((f"{name}: {error}.",)) from error
        if made is None or (digest := _digest(made)) in done:
            continue
        done.add(digest)
        stem = directory / FOLDER / digest.hex()[:12]
        _keep(made, stem, name)
        seconds = time.perf_counter() - began
        yield f"{name}: ready after {seconds:.0f} s, losses and samples in {stem}.csv and {stem}.png"


def _told(tell: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda told: tell(f"{name}: {told}")


def _digest(made: Prepared) -> bytes:
    digest = hashlib.sha256(made.samples.contiguous().numpy().tobytes())
    digest.update(made.losses.contiguous().numpy().tobytes())
    return digest.digest()


def _keep(made: Prepared, stem: Path, title: str) -> None:
    make_directory(stem.parent)
    write_bytes_atomically(stem.with_suffix(".csv"), _table(made).encode())
    write_bytes_atomically(stem.with_suffix(".png"), _picture(made, title))


def _table(made: Prepared) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("epoch", *made.names))
    writer.writerows((epoch, *losses) for epoch, losses in enumerate(made.losses.tolist(), start=1))
    return text.getvalue()


def _picture(made: Prepared, title: str) -> bytes:
    """The samples in rows of ten, above a curve of each loss."""
    from matplotlib.figure import Figure  # slow to import, and wanted only here

    shown = made.names if len(made.losses) else ()
    figure = Figure(figsize=(7, 3.2 + 1.8 * len(shown)), layout="constrained")
    axes = figure.subplots(1 + len(shown), 1, squeeze=False)[:, 0]
    axes[0].imshow(_mosaic(visible(made.samples)).numpy(), cmap="gray", vmin=0, vmax=1)
    axes[0].set_axis_off()
    axes[0].set_title(title, fontsize="small", parse_math=False)
    for column, name in enumerate(shown):
        axes[column + 1].plot(range(1, len(made.losses) + 1), made.losses[:, column].tolist())
        axes[column + 1].set_ylabel(name, fontsize="x-small", wrap=True)
        axes[column + 1].set_xlabel("epoch", fontsize="x-small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _mosaic(samples: Tensor, across: int = 10) -> Tensor:
    """Images [n, channels, height, width], n a multiple of `across`, side by side: [rows * height, across * width, 3], or
    without the last dimension where there is one channel."""
    count, channels, height, width = samples.shape
    grid = samples.view(-1, across, channels, height, width).permute(0, 3, 1, 4, 2)
    flat = grid.reshape(count // across * height, across * width, channels)
    return flat[..., 0] if channels == 1 else flat
