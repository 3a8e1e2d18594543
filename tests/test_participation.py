"""Who can be singled out of sums over changing sets of clients: against exact arithmetic, search and simulation."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sympy import Matrix

from seethrough.audit.cli import app
from seethrough.audit.participation import participation
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.guarantees.accounting import gaussian_epsilon
from seethrough.federation.participation import SCHEMES, Drift, Schedule, Scheme, groups_of, recorded, separate, told
from tests.test_light_commands import without_torch


def schedule(rows: list[list[int]]) -> Schedule:
    taken = csr_array(np.array(rows, dtype=float))
    return Schedule(tuple(map(str, range(len(rows)))), tuple(map(str, range(len(rows[0])))), taken)


@st.composite
def matrices(draw: st.DrawFn, clients: int = 6, rounds: int = 6) -> list[list[int]]:
    width, height = draw(st.integers(2, clients)), draw(st.integers(1, rounds))
    row = st.lists(st.integers(0, 1), min_size=width, max_size=width).filter(any)
    return draw(st.lists(row, min_size=height, max_size=height))


def spans(rows: list[list[int]], wanted: list[int]) -> bool:
    """Exactly, over the rationals."""
    return Matrix(rows).rank() == Matrix([*rows, wanted]).rank()


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_the_first_round_that_tells_a_client_is_that_of_exact_elimination(rows: list[list[int]]):
    found = separate(schedule(rows))
    for client in range(len(rows[0])):
        alone = [int(client == each) for each in range(len(rows[0]))]
        exact = [number for number in range(len(rows)) if spans(rows[: number + 1], alone)]
        assert found.first[client] == (exact[0] if exact else -1)


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_leverage_and_noise_are_those_of_the_pseudoinverse(rows: list[list[int]]):
    found, dense = separate(schedule(rows)), np.array(rows, dtype=float)
    for number in range(len(rows)):
        seen = dense[: number + 1]
        np.testing.assert_allclose(found.leverage[number], np.diag(np.linalg.pinv(seen) @ seen), atol=1e-9)
    inverse = np.linalg.pinv(dense)
    single = found.first >= 0
    np.testing.assert_allclose(found.noise[single], (inverse[single] ** 2).sum(axis=1), atol=1e-9)
    assert np.isnan(found.noise[~single]).all()


@settings(max_examples=60, deadline=None)
@given(matrices(clients=5))
def test_the_smallest_group_lies_between_its_bounds(rows: list[list[int]]):
    plan = schedule(rows)
    found = groups_of(plan, separate(plan))
    width = len(rows[0])
    for client in range(width):
        if not plan.appearances[client]:
            assert found.least[client] == found.found[client] == 0
            continue
        true = next(
            size
            for size in range(1, width + 1)
            if any(
                client in group and spans(rows, [int(each in group) for each in range(width)])
                for group in combinations(range(width), size)
            )
        )
        assert found.least[client] <= true <= found.found[client] <= found.round[client]


def modulo(rows: np.ndarray, prime: int = 2**31 - 1) -> set[int]:
    """The clients whose unit vector lies in the space of the rows, by elimination modulo a prime."""
    left, done = rows.astype(int).astype(object), 0
    for column in range(rows.shape[1]):
        pivot = next((row for row in range(done, len(left)) if left[row, column]), None)
        if pivot is None:
            continue
        left[[done, pivot]] = left[[pivot, done]]
        left[done] = left[done] * pow(int(left[done, column]), -1, prime) % prime
        for row in range(len(left)):
            if row != done and left[row, column]:
                left[row] = (left[row] - left[row, column] * left[done]) % prime
        done += 1
    return {int(row.nonzero()[0][0]) for row in left if np.count_nonzero(row) == 1}


@pytest.mark.parametrize("seed", range(4))
def test_a_leverage_near_one_is_not_taken_for_one(seed: int):
    """At 100 clients and 10 a round every third schedule has a client whose leverage is within 1e-7 of 1 a round too early."""
    plan = Scheme("number", clients=60, rounds=62, per_round=30).drawn(seed)
    found, dense = separate(plan), plan.taken.toarray()
    for rounds in range(55, 63):
        assert {int(each) for each in np.flatnonzero((found.first >= 0) & (found.first < rounds))} == modulo(
            dense[:rounds]
        )


def doubling(times: int) -> np.ndarray:
    """Rounds of two or three by which nobody can be computed, though the first client's leverage is 1 but for some 4^-times:
    of what the sums leave open, each triple of clients takes twice the part of the one before."""
    groups = [[0, 2], [0, 3], [1, 2]]
    for number in range(1, times):
        first = 1 + 3 * number
        groups += [[first, first - 2, first - 1], [first, first + 1], [first, first + 2]]
    rows = np.zeros((len(groups), 1 + 3 * times), dtype=int)
    for row, members in zip(rows, groups, strict=True):
        row[members] = 1
    return rows


@pytest.mark.parametrize("times", [12, 20])
def test_nobody_is_called_computable_who_is_so_but_for_a_trifle(times: int):
    rows = doubling(times)
    plan = schedule(rows.tolist())
    found = separate(plan)
    assert 0 < 1 - found.leverage[-1][0] < 1e-6 and modulo(rows) == set()
    assert (found.first == -1).all() and groups_of(plan, found).least.min() == 2
    alone = np.vstack([rows, np.eye(1, rows.shape[1], dtype=int)])
    told = separate(schedule(alone.tolist()))
    assert (told.first >= 0).all() and modulo(alone) == set(range(rows.shape[1]))
    assert not told.certain or times == 12


def test_who_joins_and_stays_is_told_by_the_differences_in_no_time():
    rows = np.tril(np.ones((400, 400), dtype=int))
    plan = schedule(rows.tolist())
    found = separate(plan)
    assert found.first.tolist() == list(range(400))
    assert groups_of(plan, found).found.tolist() == [1] * 400


def test_a_client_whose_only_round_is_the_first_is_not_one_of_those_in_no_round():
    plan = schedule([[1, 1, 0], [0, 1, 0]])
    assert groups_of(plan, separate(plan)).least.tolist() == [1, 1, 0]


def test_a_difference_of_two_rounds_exposes_who_left():
    plan = schedule([[1, 1, 1, 1], [1, 1, 0, 0]])
    found = separate(plan)
    assert found.first.tolist() == [-1, -1, -1, -1]
    assert groups_of(plan, found).found.tolist() == [2, 2, 2, 2]
    again = separate(schedule([[1, 1, 1, 1], [1, 1, 1, 0]]))
    assert again.first.tolist() == [-1, -1, -1, 1] and again.noise[3] == pytest.approx(2)


@pytest.mark.parametrize("drift", [Drift(0.5), Drift(1.0, 2.0), Drift(0.0, 0.3)])
def test_the_share_told_under_drift_is_what_the_best_linear_estimate_explains(drift: Drift):
    plan, draws = Scheme("number", clients=7, rounds=9, per_round=3).drawn(1), 40_000
    rng, dense = np.random.default_rng(0), plan.taken.toarray()
    own = rng.standard_normal((draws, 7))
    sent = own[:, None] + drift.rho * rng.standard_normal((draws, 9, 7))
    sums = (sent * dense).sum(axis=2) + drift.sigma * rng.standard_normal((draws, 9))
    claimed = told(plan, drift)
    for rounds in (1, 5, 9):
        guess = sums[:, :rounds] @ np.linalg.lstsq(sums[:, :rounds], own, rcond=None)[0]
        explained = 1 - ((own - guess) ** 2).mean(axis=0) / (own**2).mean(axis=0)
        np.testing.assert_allclose(claimed[rounds - 1], explained, atol=0.02)


def test_less_drift_tells_more_up_to_the_leverage():
    plan = Scheme("rate", clients=12, rounds=15, per_round=4).drawn(0)
    shares = [told(plan, Drift(rho))[-1] for rho in (2.0, 0.5, 0.01)]
    assert (shares[0] < shares[1]).all() and (shares[1] < shares[2]).all()
    np.testing.assert_allclose(shares[2], separate(plan).leverage[-1], atol=1e-2)
    with pytest.raises(ValueError, match="neither drift nor noise"):
        told(plan, Drift(0.0))


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_scheme_draws_as_many_clients_as_it_says(kind: str):
    plan = Scheme(kind, clients=100, rounds=400, per_round=20, group=5, dropout=0.1).drawn(0)
    arriving = 20 * (0.9**5 if kind == "whole groups" else 0.9)
    assert plan.sizes.mean() == pytest.approx(arriving, abs=4 * plan.sizes.std() / 20)
    assert plan.taken.toarray().max() == 1
    assert plan.appearances.std() < plan.appearances.mean() / 4


def test_whole_groups_keep_their_size_whatever_drops_out_and_groups_do_not():
    kept, broken = (
        Scheme(kind, clients=40, rounds=200, per_round=10, group=5, dropout=0.1).drawn(0)
        for kind in ("whole groups", "groups")
    )
    assert groups_of(kept, separate(kept)).least.min() == 5
    assert (separate(kept).first == -1).all() and (separate(broken).first >= 0).all()


def test_rounds_that_fall_below_the_threshold_are_not_opened():
    plan = schedule([[1, 1, 1], [1, 1, 0]])
    assert separate(plan).first.tolist() == [-1, -1, 1]
    assert separate(plan.opened(3)).first.tolist() == [-1, -1, -1]


def test_recorded_rounds_stand_in_the_order_of_their_numbers():
    plan = recorded([("10", "b"), ("2", "a"), ("2", "b")])
    assert plan.rounds == ("2", "10") and plan.clients == ("b", "a")
    assert plan.taken.toarray().tolist() == [[1, 1], [1, 0]]
    assert recorded([("late", "a"), ("early", "a")]).rounds == ("late", "early")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "found no row"),
        ([("1", "a"), ("01", "b")], "found the rounds '1' and '01'"),
        ([("1", "a"), ("1", " ")], "row 3: found no client"),
        ([("", "a")], "row 2: found no round"),
        ([("1", "a"), ("2", "a"), ("1", "a")], "row 4: found client 'a' in round '1' again, after row 2"),
    ],
)
def test_a_recorded_schedule_that_cannot_be_is_refused_by_its_row(rows: list[tuple[str, str]], words: str):
    with pytest.raises(ValueError, match=words):
        recorded(rows)


def audit(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command, where torch cannot be imported."""
    said = without_torch("participation", *arguments)
    return said.returncode, said.stdout, said.stderr


def written(path: Path, lines: str) -> str:
    path.write_text("round,client\n" + lines)
    return str(path)


def test_the_command_names_the_first_client_and_writes_table_and_page(tmp_path: Path):
    file = written(tmp_path / "who.csv", "1,ann\n1,bob\n1,<b>eve\n2,ann\n2,bob\n3,=cmd\n3,dan\n")
    code, out, _ = audit(file, "--out", str(tmp_path / "out"))
    assert code == 0 and "After 2 rounds (with round 2) client <b>eve's update can be computed from the sums" in out
    rows = list(csv.DictReader((tmp_path / "out" / "participation.csv").read_text().splitlines()))
    assert [row["client"] for row in rows] == ["ann", "bob", "<b>eve", "'=cmd", "dan"]
    assert [row["computable_after_rounds"] for row in rows] == ["", "", "2", "", ""]
    page = (tmp_path / "out" / "participation.html").read_text()
    assert "&lt;b&gt;eve" in page and "<b>eve" not in page and "data:image/png" in page


@pytest.mark.parametrize(
    ("lines", "code"),
    [("1,a\n1,b\n2,c\n2,d\n", 0), ("1,a\n1,b\n2,a\n", 3)],
)
def test_the_exit_code_says_whether_the_promised_group_was_kept(tmp_path: Path, lines: str, code: int):
    assert audit(written(tmp_path / "who.csv", lines), "--group", "2")[0] == code


def test_a_group_that_may_be_smaller_than_what_was_found_is_not_called_kept(tmp_path: Path):
    places = zip(*Scheme("rate", clients=60, rounds=30, per_round=20).drawn(0).taken.nonzero(), strict=True)
    lines = "".join(f"{number},{client}\n" for number, client in places)
    assert audit(written(tmp_path / "who.csv", lines), "--group", "10")[0] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "found neither a file nor --scheme"),
        (("missing.csv",), "missing.csv: found no readable file"),
        (("who.csv", "--clients", "7", "--per-round", "3"), "found --clients, --per-round beside a file"),
        (("--scheme", "number", "--per-round", "101"), "--per-round: found 101; allowed: from 1 to 100"),
        (("--scheme", "groups", "--group", "20"), "--per-round: found 10; allowed: from 20 to 100"),
        (
            ("--scheme", "rate", "--clients", "5", "--per-round", "1", "--rounds", "1", "--dropout", "0.99"),
            "nobody arrived",
        ),
        (("--scheme", "rate", "--threshold", "90"), "found no round of at least 90 clients"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(arguments: tuple[str, ...], words: str):
    code, _, err = audit(*arguments)
    assert code == 2 and words in err and "Traceback" not in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--noise-multiplier", "--drift", "--noise", "--delta"])
def test_infinite_numbers_are_refused(option: str):
    code, _, err = audit("--scheme", "rate", option, "inf")
    assert code == 2 and option in err and "Traceback" not in err


def test_epsilon_grows_with_the_rounds_that_a_client_is_in():
    plan = schedule([[1, 1, 0], [1, 0, 1], [1, 1, 1]])
    found = participation(plan, "three rounds", noise_multiplier=2.0, delta=1e-5)
    spent = [each.epsilon for each in found.clients]
    assert spent[0] == pytest.approx(gaussian_epsilon(GaussianMechanism(2.0, 3), 1e-5, "rdp"))
    assert spent[1] == spent[2] < spent[0] and "at most 3" in found.privacy


@pytest.mark.parametrize("noise", [(), ("--noise-multiplier", "1")])
def test_the_terminal_shows_epsilon_where_there_is_noise(
    noise: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    app(["participation", written(tmp_path / "who.csv", "1,a\n1,b\n2,a\n"), *noise], standalone_mode=False)
    assert ("epsilon" in capsys.readouterr().out) == bool(noise)


def test_what_one_round_tells_under_drift_is_what_the_sums_tell_of_it():
    plan = schedule([[1, 1, 1, 1]])
    found = participation(plan, "one round", drift=Drift(0.7, 0.3))
    assert all(each.one_round == pytest.approx(each.drifting) for each in found.clients)
