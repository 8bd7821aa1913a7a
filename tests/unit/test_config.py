from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core import config
from dre_core.errors import ConfigError, DREError
from dre_core.model.policy import Role
from dre_core.model.verdict import Level, Severity
from dre_core.policy_file import load_policy, parse_policy


def load(tmp_path, environ=None):
    return config.load(tmp_path, tmp_path / ".dre", environ or {})


def test_defaults(tmp_path):
    assert load(tmp_path) == config.Config()


def test_each_source_wins_over_the_one_before(tmp_path):
    (tmp_path / "dre.yaml").write_text(
        "evidence: {retention: 1d, compress: false}\ncapture: {junit: [a.xml]}\n"
    )
    (tmp_path / ".dre").mkdir()
    (tmp_path / ".dre" / "config.yaml").write_text("evidence: {retention: 2d}\n")
    loaded = load(tmp_path, {"DRE_CAPTURE__JUNIT": "b.xml,c.xml", "DRE_RUN__TIMEOUT_SECONDS": "2.5"})
    assert loaded.evidence.retention == "2d"
    assert loaded.evidence.compress is False
    assert loaded.capture.junit == ("b.xml", "c.xml")
    assert loaded.run.timeout_seconds == 2.5
    assert loaded.sources == ("dre.yaml", ".dre/config.yaml")


def test_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.dre.evidence]\nretention = "9d"\n')
    assert load(tmp_path).evidence.retention == "9d"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("evidence: {retenton: 1d}", "evidence.retenton", "evidence.retention"),
        ("evidnce: {retention: 1d}", "evidnce", ""),
        ("evidence: {compress: maybe}", "must be true or false", ""),
        ("capture: {sample_interval_ms: -1}", "whole number", ""),
        ("evidence: 3", "must be a mapping", ""),
        ("- a", "must be a mapping", ""),
        ("a: [", "not readable as YAML", ""),
        ("a: !!python/object/apply:os.system [x]", "not readable as YAML", ""),
    ],
)
def test_what_is_refused(tmp_path, text, message, hint):
    (tmp_path / "dre.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_an_unknown_variable_names_itself(tmp_path):
    with pytest.raises(ConfigError, match="DRE_EVIDENCE__RETENTON"):
        load(tmp_path, {"DRE_EVIDENCE__RETENTON": "1d"})


def test_the_contracts_own_variables_are_no_keys(tmp_path):
    names = (
        "DRE_SIGNING_KEY",
        "DRE_SIGNING_KEY_FILE",
        "DRE_DIR",
        "DRE_OPERATION",
        "DRE_POLICY",
        "DRE_KEYS_DIR",
    )
    assert load(tmp_path, dict.fromkeys(names, "x")) == config.Config()


def test_a_policy_in_the_project_is_ignored_and_said(tmp_path):
    (tmp_path / "dre.yaml").write_text("verify: {threshold: 0.1}\n")
    (warning,) = load(tmp_path).warnings
    assert warning.startswith("policy-from-workload")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_a_typed_error(data):
    try:
        text = data.decode()
        parse_policy(config.parse_yaml(text, "x"), "x", config.Path())
    except (UnicodeDecodeError, DREError):
        return


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "evidence.retention": st.text(min_size=1, max_size=8).filter(str.isprintable),
            "evidence.compress": st.booleans(),
            "capture.junit": st.lists(st.text("abc/*.xml", min_size=1)).map(tuple),
            "capture.sample_interval_ms": st.integers(0, 10**6),
            "run.timeout_seconds": st.floats(0, 1e6),
        },
    )
)
def test_flattening_and_setting_are_inverses(values):
    made = config.with_values(config.Config(), values)
    assert config.with_values(config.Config(), config.flatten(made)) == made
    for key, value in values.items():
        assert made.get(key) == value


class TestPolicy:
    def parse(self, text, tmp_path):
        return parse_policy(config.parse_yaml(text, "p"), "p", tmp_path)

    def test_everything(self, tmp_path):
        (tmp_path / "k.pem").write_text("PEM")
        policy = self.parse(
            "preset: ci\nkeys: [{file: k.pem, roles: [runner, maintainer]}]\nsignatures: 2\nthreshold: 0.9\n"
            "minimum_level: 4\nweights: {visual: 0.5}\nseverities: {tree-clean: fail}\n",
            tmp_path,
        )
        assert policy.keys[0].pem == "PEM"
        assert policy.keys[0].roles == (Role.RUNNER, Role.MAINTAINER)
        assert (policy.signatures, policy.threshold, policy.minimum_level) == (2, 0.9, Level.COUNTERSIGNED)
        assert policy.weight("visual") == 0.5
        assert policy.weight("programmatic") == 0.4
        assert policy.severities == {"tree-clean": Severity.FAIL}
        assert policy.require_commit is True

    @pytest.mark.parametrize(
        "text",
        [
            "treshold: 1", "preset: wild", "keys: 3", "keys: [{}]", "keys: [{pem: x, roles: [king]}]",
            "severities: {a: bad}", "weights: [1]", "minimum_level: 9", "signatures: many", "3",
        ],
    )  # fmt: skip
    def test_what_is_refused(self, text, tmp_path):
        with pytest.raises(ConfigError):
            self.parse(text, tmp_path)

    def test_presets_by_name(self):
        assert load_policy(config.Path("preset:strict")).minimum_level is Level.WRAPPED
