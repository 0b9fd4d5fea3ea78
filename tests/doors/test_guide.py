"""The guide explains every name that refattn prints, from code where code says it, in two words for two things."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from refattn import adapters, bounds, cli, guide
from refattn.bounds import forward
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.features import CLAIMS
from refattn.errors import InvalidValue
from refattn.guide import lists, pages
from refattn.numbers import formats
from refattn.reports import terminal
from refattn.suite.findings import Evidence, Finding, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
STAGES = tuple(field.name for field in dataclasses.fields(Arithmetic) if field.name != "name")
TOPICS = {
    "property": tuple(each.name for each in ALL),
    "verdict": tuple(each.value for each in Verdict),
    "claim": tuple(CLAIMS),
    "stage": STAGES,
    "convention": adapters.names(),
    "format": tuple(each.name for each in formats.ALL),
    "profile": tuple(PROFILES),
}
PEOPLES = [README, *sorted((ROOT / "refattn" / "guide").glob("*.md"))]
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)\)")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in TOPICS.items() for name in names])
def test_every_name_that_refattn_prints_is_explained(kind: str, name: str) -> None:
    text = guide.explain(name)
    assert name in guide.topics()[kind]
    assert f"`{name}`" in text
    assert len(text.split()) > 15


def test_every_regime_is_explained_by_its_summary() -> None:
    for name in lists.regime_names():
        assert len(guide.explain(name).split()) > 6


def test_what_code_says_of_a_name_is_in_its_explanation() -> None:
    for each in ALL:
        assert each.summary.lower() in guide.explain(each.name).lower()
        assert all(claim in guide.explain(each.name) for claim in each.needs)
    for claim, words in CLAIMS.items():
        assert words.lower() in guide.explain(claim).lower()
    assert "`values/masks`" not in guide.explain("sinks")
    assert "`AttentionSpec.sinks`" in guide.explain("sinks")
    assert "`lse/search`" in guide.explain("lse")
    assert "fp32" in guide.explain("accumulator")


def test_every_family_of_properties_and_part_of_a_bound_has_a_section() -> None:
    assert set(pages.sections("properties")) == {each.name.partition("/")[0] for each in ALL}
    assert set(forward.PARTS) <= set(pages.sections("arithmetic"))
    assert set(pages.sections("verdicts")) >= {each.value for each in Verdict}
    assert bounds.forward is forward


def test_a_stage_without_a_line_of_its_own_has_the_line_that_speaks_of_it() -> None:
    stages = lists.stages()
    assert set(stages) == set(STAGES)
    assert "log_ulps" in stages["log_ulps"]
    assert stages["gradient_tile"] == stages["gradient_sum"]


def test_every_list_stands_on_a_page() -> None:
    for name, make in lists.BY_NAME.items():
        assert any(make() in pages.page(page) for page in pages.names()), name
    assert not any("lists" in line and line.startswith("*`") for page in pages.names() for line in pages.page(page))


def test_a_name_of_several_things_gets_all_of_them() -> None:
    text = guide.explain("backward")
    assert "`backward`, a claim" in text
    assert "`backward`, a convention" in text
    assert guide.explain("not claimed") == guide.explain("Not-Claimed") == guide.explain("not_claimed")


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("values/needle", "did you mean values/needles?"),
        ("suspekt", "did you mean suspect?"),
        ("acumulator", "did you mean accumulator or accumulation?"),
        ("needles", "did you mean values/needles"),
        ("xyzzy", "`refattn explain` lists them"),
        ("", "`refattn explain` lists them"),
    ],
)
def test_an_unknown_topic_gets_a_suggestion(topic: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)) as caught:
        guide.explain(topic)
    assert str(caught.value).startswith(f"topic {topic!r} is not known: ")


def test_the_command_exits_with_2_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "valus/needles"]) == cli.BAD_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "refattn: topic 'valus/needles' is not known: did you mean values/needles or values?\n"


def test_the_command_prints_a_topic_or_the_list_of_them() -> None:
    run = CliRunner()
    assert run.invoke(cli.cli, ["explain", "suspect"]).output == guide.explain("suspect")
    assert run.invoke(cli.cli, ["explain", "not", "claimed"]).output == guide.explain("not claimed")
    listing = " ".join(run.invoke(cli.cli, ["explain"]).output.split())
    assert all(name in listing for kind in TOPICS for name in TOPICS[kind])
    assert all(pages.title(name) in listing for name in pages.names())


def test_a_terminal_gets_formatted_text() -> None:
    out = terminal.console()
    out._force_terminal = True
    with out.capture() as captured:
        terminal.render_markdown("# A title\n\nSome `code`.\n", out)
    assert "A title" in captured.get()
    assert "# A title" not in captured.get()
    assert "`" not in captured.get()


def test_the_evidence_of_a_failure_says_how_to_have_it_explained() -> None:
    finding = Finding("values/needles", "bf16", Evidence(Verdict.VIOLATES, "out[0] is wrong."))
    assert terminal.evidence(finding).endswith("\n  explain: refattn explain values/needles")
    assert "explain" not in terminal.evidence(Finding("values/needles", "bf16", Evidence(Verdict.CONFORMS)))


def test_links_lead_somewhere() -> None:
    for path in PEOPLES:
        links = [link for link in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))) if "://" not in link]
        missing = [link for link in links if not (path.parent / link).exists()]
        assert not missing, (path, missing)


def test_readme_names_every_convention() -> None:
    text = README.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in adapters.names())


# Kernel and convention are the words; these are names of the command line.
_NAMES = re.compile(r"--refattn-target\S*|\bTARGET\b")


def test_two_words_name_two_things() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PEOPLES}
    run = CliRunner()
    for command in ("check", "replay", "explain", "properties"):
        texts[command] = run.invoke(cli.cli, [command, "--help"]).output
    for name, text in texts.items():
        assert not re.search(r"\b(target|adapter)s?\b", _NAMES.sub("", _CODE.sub("", text)), re.IGNORECASE), name
