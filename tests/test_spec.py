"""Specs: what is read, and what a mistake is answered with."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seethrough.attacks.gradinversion import GradInversion
from seethrough.audit.specification.defenses import defense_label
from seethrough.audit.specification.error_messages import SpecError
from seethrough.audit.specification.file import load_spec, spec_from
from seethrough.audit.specification.schema import AuditSpec
from seethrough.audit.untrusted import UntrustedFileError
from seethrough.defenses import Chain
from seethrough.defenses.clipping import Clipping

ROOT = Path(__file__).parents[1]

GOOD = {
    "name": "test",
    "trials": 2,
    "settings": [{"name": "s", "data": "digits", "model": "lenet", "batch_size": 4}],
    "threats": [{"name": "t"}],
    "defenses": ["none"],
    "attacks": ["label_minimum"],
    "metrics": ["psnr"],
}


def written(tmp_path: Path, spec: object) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(spec if isinstance(spec, str) else yaml.safe_dump(spec, sort_keys=False))
    return file


def changed(*path: str | int, to: object) -> dict:
    spec = copy.deepcopy(GOOD)
    node = spec
    for part in path[:-1]:
        node = node[part]
    if to is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return spec


MISTAKES = [
    (changed("trials", to="two"), "trials", '"two"', "a whole number"),
    (changed("trials", to=0), "trials", "0", "at least 1"),
    (changed("trials", to=...), "trials", "nothing", "a value"),
    (changed("trials", to=2.5), "trials", "2.5", "a whole number"),
    (changed("trials", to=True), "trials", "true", "a whole number"),
    (changed("name", to=""), "name", '""', "at least 1 character"),
    (changed("settings", to=[]), "settings", "[]", "at least 1 item"),
    (changed("settings", to="digits"), "settings", '"digits"', "a list"),
    (changed("settings", 0, "rounds", to=0), "settings[0].rounds", "0", "at least 1"),
    (changed("settings", 0, "rounds", to=101), "settings[0].rounds", "101", "at most 100"),
    (
        changed("settings", 0, "partition", to={"dirichlet": 0}),
        "settings[0].partition.dirichlet",
        "0",
        "a number above 0",
    ),
    (
        changed("settings", 0, "partition", to={"dirichlet": 1, "shards": 2}),
        "settings[0].partition",
        "shards",
        "one of dirichlet, pathological, shards, sizes",
    ),
    (
        changed("settings", 0, "partition", to={"alpha": 1}),
        "settings[0].partition",
        "alpha",
        "the keys dirichlet, pathological, shards, sizes, clients",
    ),
    (changed("settings", 0, "batch", to=4), "settings[0]", "batch", "did you mean batch_size?"),
    (changed("settings", 0, "batch_size", to=-1), "settings[0].batch_size", "-1", "at least 1"),
    (changed("settings", 0, "data", to="digit"), "settings[0].data", '"digit"', "did you mean digits?"),
    (changed("settings", 0, "data", to={"torchvision": "SVHN"}), "settings[0].data.torchvision", '"SVHN"', "'MNIST'"),
    (changed("settings", 0, "data", to={"digits": {"size": 4}}), "settings[0].data.digits.size", "4", "at least 8"),
    (changed("settings", 0, "model", to="resnet"), "settings[0].model", '"resnet"', "did you mean resnet20?"),
    (changed("settings", 0, "weights", to={"train": {"epoch": 3}}), "settings[0].weights.train", "epoch", "epochs"),
    (changed("settings", 0, "mode", to="test"), "settings[0].mode", '"test"', "'eval' or 'train'"),
    (changed("settings", 0, "labels", to="all"), "settings[0].labels", '"all"', "'random' or 'unique'"),
    (changed("settings", 0, "local", to={"steps": 0}), "settings[0].local.steps", "0", "at least 1"),
    (changed("settings", 0, "local", to={"step": 2}), "settings[0].local", "2", "did you mean steps?"),
    (
        changed("settings", 0, "local", to={"batch_size": 5, "last_batch": "drop"}),
        "settings[0]",
        "5",
        "leaves no batch of 5",
    ),
    (changed("settings", 0, "splits", to={"private": 0.7, "public": 0.7}), "settings[0].splits", "0.7", "at most 1"),
    (changed("threats", 0, "grants", to=["label"]), "threats[0].grants[0]", '"label"', "'labels'"),
    (changed("threats", 0, "batchnorm", to="none"), "threats[0].batchnorm", '"none"', "'hidden'"),
    (changed("threats", to=[{"name": "t"}, {"name": "t"}]), "threats", "t", "only once"),
    (changed("defenses", to=["clipping"]), "defenses[0]", "max_norm", "a value"),
    (changed("defenses", to=[{"clipping": {"max_norm": -1}}]), "defenses[0].clipping.max_norm", "-1", "above 0"),
    (
        changed("defenses", to=[{"dp_sgd": {"noise_multiplier": 1, "max_grad_norm": "x"}}]),
        "max_grad_norm",
        '"x"',
        "a number",
    ),
    (changed("defenses", to=["none", "none"]), "defenses", "none", "only once"),
    (changed("defenses", to=[["secure_aggregation", "secure_aggregation"]]), "defenses[0]", "secure", "aggregate"),
    (changed("attacks", to=["dgl"]), "attacks[0]", '"dgl"', "did you mean dlg?"),
    (changed("attacks", to=[{"dlg": {"speed": 3}}]), "attacks[0].dlg", "speed", "unknown: speed"),
    (changed("attacks", to=[{"dlg": {}, "gradinversion": {}}]), "attacks[0]", "dlg", "one of"),
    (changed("metrics", to=[{"lpips": {"net": "resnet"}}]), "metrics[0].lpips.net", '"resnet"', "'alex'"),
    (changed("margins", to={"pnsr": 1.0}), "margins", "pnsr", "the names of metrics of this audit"),
    (changed("margins", to={"label_accuracy": 0}), "margins.label_accuracy", "0", "a number above 0"),
    (changed("metric", to=["psnr"]), "metric", "metric", "did you mean metrics?"),
]


@pytest.mark.parametrize(("spec", "place", "found", "allowed"), MISTAKES, ids=[f"{m[1]} {m[2]}" for m in MISTAKES])
def test_a_mistake_gets_one_sentence_with_file_place_found_and_allowed(tmp_path, spec, place, found, allowed):
    file = written(tmp_path, spec)
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert len(caught.value.sentences) == 1
    sentence = caught.value.sentences[0]
    head, _, tail = sentence.partition("; allowed: ")
    assert head.startswith(str(file))
    assert place in head
    assert found in sentence
    assert allowed in tail


def test_the_sentence_names_the_line(tmp_path):
    text = yaml.safe_dump(GOOD, sort_keys=False).replace("batch_size: 4", "batch_size: 0")
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "batch_size" in row)
    with pytest.raises(SpecError, match=f"line {line}, "):
        load_spec(written(tmp_path, text))


def test_every_mistake_is_told_at_once(tmp_path):
    spec = changed("trials", to=0)
    spec["attacks"] = ["dgl"]
    with pytest.raises(SpecError) as caught:
        load_spec(written(tmp_path, spec))
    assert len(caught.value.sentences) == 2


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just text", "a: [1", "a: 1\na: 2", "!!python/object:os.system {}", "\x00"]
)
def test_a_file_that_is_no_spec_gets_a_sentence(tmp_path, text):
    file = written(tmp_path, text)
    with pytest.raises((SpecError, UntrustedFileError), match=re.escape(str(file))):
        load_spec(file)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["digits", "dlg"])
)
nodes = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from(
    [(key,) for key in GOOD]
    + [("settings", 0, key) for key in ("data", "model", "weights", "local", "splits", "batch_size")]
)


@settings(max_examples=200, deadline=None)
@given(places, nodes)
def test_whatever_stands_in_a_place_the_answer_is_a_spec_or_a_sentence(tmp_path_factory, place, value):
    file = written(tmp_path_factory.mktemp("spec"), changed(*place, to=value))
    try:
        spec = load_spec(file)
    except (SpecError, UntrustedFileError) as error:
        assert str(file) in str(error)
    else:
        assert isinstance(spec, AuditSpec)


def test_entries_may_be_written_short_or_long(tmp_path):
    spec = changed("defenses", to=["none", {"clipping": 2.0}, [{"clipping": {"max_norm": 1}}, "secure_aggregation"]])
    spec["attacks"] = [{"gradinversion": {"steps": 7}}]
    read = load_spec(written(tmp_path, spec))
    assert read.defenses[1] == Clipping(max_norm=2.0)
    assert isinstance(read.defenses[2], Chain)
    assert defense_label(read.defenses[2]) == "clipping(max_norm=1.0) + secure_aggregation(clients=4)"
    assert read.attacks[0] == GradInversion(steps=7)


def test_a_function_of_the_users_own_may_stand_for_a_model(tmp_path):
    read = load_spec(written(tmp_path, changed("settings", 0, "model", to="my_package.models:build")))
    assert read.settings[0].model.function == "my_package.models:build"


SHIPPED = [ROOT / "audit/default.yaml", *(ROOT / "audit/presets").glob("*.yaml"), *(ROOT / "examples").glob("*.yaml")]


@pytest.mark.parametrize("file", sorted(SHIPPED), ids=lambda f: f.name)
def test_shipped_specs_are_valid(file):
    load_spec(file)


def test_the_schema_names_every_attack_and_every_key():
    text = json.dumps(AuditSpec.model_json_schema())
    for word in ("gradinversion", "dp_sgd", "resnet20", "batch_size", "lpips", "batchnorm"):
        assert f'"{word}"' in text


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        ({"latent_prior": {"freed": "pixels"}}, "`second_stage`, as freed is called now"),
        ({"latent_prior": {"freed_share": 0.5}}, "`second_stage_share`, as freed_share is called now"),
        ({"gradinversion": {"supposed": {"steps": 2}}}, "`assumed_recipe`, as supposed is called now"),
    ],
)
def test_a_parameter_of_a_former_name_is_answered_with_its_present_one(tmp_path, attack, sentence):
    with pytest.raises(SpecError, match=re.escape(f"allowed: {sentence}.")):
        load_spec(written(tmp_path, changed("attacks", to=[attack])))


def test_a_key_that_nobody_knows_is_named_with_its_own_line(tmp_path: Path):
    """Of one at the end of a file, line 1 had been said."""
    text = yaml.safe_dump(GOOD, sort_keys=False)
    (tmp_path / "spec.yaml").write_text(f"{text}utilty: {{rounds: 3}}\n")
    with pytest.raises(SpecError, match=rf"line {len(text.splitlines()) + 1}, utilty: found .* did you mean utility"):
        load_spec(tmp_path / "spec.yaml")


def test_a_name_is_on_one_line_wherever_it_is_said():
    named = copy.deepcopy(GOOD) | {"name": "one\n\n  and another\n"}
    named["settings"][0]["name"] = named["threats"][0]["name"] = "a\r\nb"
    spec = spec_from(named)
    assert (spec.name, spec.settings[0].name, spec.threats[0].name) == ("one and another", "a b", "a b")
