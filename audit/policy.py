"""A policy from a file, or one that is built in."""

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from seethrough.common.errors import InputError
from seethrough.reports import Manifest
from seethrough.reports.gate import Policy

from .cells.store import Store
from .specification.error_messages import SpecError, sentences
from .untrusted import Document, parse_yaml, read_yaml

BUILT_IN = ("strict", "research")
FIXED = "policy "  # what stands before its name among a manifest's hashes


def load_policy(named: str) -> tuple[Policy, str]:
    """The policy of that name, or in that file, and the SHA-256 of its text. Raises: SpecError; UntrustedFileError."""
    if named not in BUILT_IN and not Path(named).exists():
        raise InputError(f"--policy: found {named!r:.140}; allowed: {', '.join(BUILT_IN)}, or a YAML file that exists.")
    document = _built_in(named) if named in BUILT_IN else read_yaml(Path(named))
    try:
        policy = Policy.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise SpecError(tuple(sentences(named, document, error))) from None
    return policy, hashlib.sha256(document.text.encode()).hexdigest()


def with_policy(manifest: Manifest, earlier: Manifest | None, store: Store, named: str) -> Manifest:
    """`manifest` with the hashes of the policies that were fixed before its cells: of `named`, if it is not empty, and those
    that `earlier` names, the manifest of an earlier go of the same audit.

    Raises: InputError, if cells are finished that the policy was not fixed before.
    """
    keys = manifest.keys
    finished = keys.intersection(store.cell_keys())
    known = () if earlier is None or not finished <= earlier.keys else earlier.hashes
    fixed = {(name, digest) for name, digest in known if name.startswith(FIXED)}
    if named:
        policy, digest = load_policy(named)
        if (f"{FIXED}{policy.name}", digest) not in fixed and finished:
            raise InputError(
                f"--policy: found {len(finished)} finished cells in {store.directory}, which know of no such policy; "
                "allowed: one that was named before the first cell, or a new folder."
            )
        fixed.add((f"{FIXED}{policy.name}", digest))
    return replace(manifest, hashes=(*manifest.hashes, *sorted(fixed)))


def is_fixed(manifest: Manifest, policy: Policy, digest: str) -> bool:
    """Whether the policy was fixed before the first cell of the run."""
    return (f"{FIXED}{policy.name}", digest) in manifest.hashes


def _built_in(name: str) -> Document:
    return parse_yaml((files("seethrough.reports.gate") / f"{name}.yaml").read_text(encoding="utf-8"), name)
