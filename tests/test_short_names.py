"""Short names of long parameter lists: no two become one, and the whole of each can be had by pointing, keyboard and print."""

import re

import pytest

from seethrough.reports.page import render_page
from seethrough.reports.parts.short_names import short_names
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, score

DP = "dp_sgd(noise_multiplier={}, max_grad_norm=1.0)"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["none", DP.format(1.0)], ["none", "dp_sgd(…)"]),
        (
            [DP.format(1.0), DP.format(0.5)],
            ["dp_sgd(noise_multiplier=1.0, …)", "dp_sgd(noise_multiplier=0.5, …)"],
        ),
        (["clipping(max_norm=0.2)"], ["clipping(max_norm=0.2)"]),  # short already
        (
            ["clipping(max_norm=0.2)", "clipping(max_norm=1.0) + secure_aggregation(clients=4)"],
            ["clipping(max_norm=0.2)", "clipping(max_norm=1.0) + secure_aggregation(…)"],
        ),
        (
            [
                "partial(layers=[a, b + c], rest=(1, 2), share=0.1)",
                "partial(layers=[a, b + c], rest=(1, 3), share=0.1)",
            ],
            ["partial(rest=(1, 2), …)", "partial(rest=(1, 3), …)"],
        ),
        (["gradinversion(steps=300, seeds=4)", "gradinversion(steps=300, seeds=4, tv=1)"], None),
        (["dp_sgd(…)", DP.format(1.0)], ["dp_sgd(…)", DP.format(1.0)]),  # somebody has that name
        (["((((((((((((((((((((((((((((", "))))))))))))))))))))))))))))", " + " * 20, ""], None),
    ],
)
def test_names_keep_what_tells_them_apart(names: list[str], short: list[str] | None):
    found = short_names(names)
    assert list(found) == names and len(set(found.values())) == len(names)
    assert all(len(called) <= len(name) for name, called in found.items())
    assert short is None or [*found.values()] == short


def test_the_page_gives_the_whole_name_on_hover_and_to_the_keyboard():
    hostile = 'dp_sgd(noise="><script>alert(1)</script>, max_grad_norm=1.0)'
    places = [
        place(trial, "dlg(steps=100, restarts=12)", defense) for defense in ("none", hostile) for trial in range(6)
    ]
    page = render_page(read_report(manifest(places), [measured(at, score(0.8)) for at in places]))
    heads = re.findall(r'<th scope="(?:col|row)"><abbr class="short" tabindex="0" title="([^"]*)">(.*?)</abbr>', page)
    assert {(title, re.sub("<wbr>", "", shown)) for title, shown in heads} == {
        ("dlg(steps=100, restarts=12)", "dlg(…)"),
        ("dp_sgd(noise=&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;, max_grad_norm=1.0)", "dp_sgd(…)"),
    }
    assert "<script" not in page and "Names with …" not in page.partition("At a glance")[0]
    plain = [place(trial) for trial in range(6)]
    assert "are short: point at one" not in render_page(read_report(manifest(plain), [measured(plain[0], score(0.8))]))
