"""`env` shows what is in force and no secret; `completion` completes in real shells."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import Outcome, Shell
from support.on_call import Operator

PASSWORD = "conspicuous-password"
STRANGE = """org-7: weight=2; it's "so": rate=3/s; $HOME $(id) \\: running=1"""
SECRETS = {
    "AMQP_URL": f"amqp://me:{PASSWORD}@broker/%2F",
    "DATABASE_URL": f"postgresql://me:{PASSWORD}@db/app",
    "WORKER_SEAL_KEYS": f"k1:{PASSWORD}",
    "MANAGEMENT_URL": f"http://me:{PASSWORD}@broker:15672",
}
GIVEN = {"worker_prefix": "prod", "WORKER_LIMITS": STRANGE, "WORKER_FAIR_SHARES": "0"}


@pytest.fixture
def operator() -> Operator:
    """Somebody without servers."""
    return Operator(Shell())


@pytest.fixture
def told(operator: Operator) -> Operator:
    """Somebody in whose environment there are these settings, and one that is none."""
    operator.shell.variables.update(SECRETS | GIVEN | {"WORKER_PREFECH": "7"})
    return operator


def in_bash(script: str) -> list[str]:
    words = [shutil.which("bash") or "bash", "--norc", "-c", script]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 — the test's own words
    assert ended.stderr == ""
    return ended.stdout.splitlines()


async def test_the_settings_in_force_are_shown_and_written_without_a_secret(told: Operator) -> None:
    forms = {form: await told.says("env", *form) for form in ((), ("--export",), ("--compose",), ("--k8s",))}
    shown = {each["variable"]: each for each in (await told.says("env", "--json")).records}

    for outcome in forms.values():
        assert PASSWORD not in outcome.out + outcome.err
        assert (
            "WORKER_PREFECH is set, but there is no such setting; did you mean WORKER_PREFETCH?"
            in outcome.err
        )
    assert {name for name, each in shown.items() if each["source"] == "environment"} == {
        *SECRETS, *(name.upper() for name in GIVEN),
    }  # fmt: skip
    assert (shown["AMQP_URL"]["value"], shown["WORKER_PREFIX"]["value"]) == ("***", "prod")
    assert (shown["WORKER_POOL_SIZE"]["value"], shown["WORKER_POOL_SIZE"]["source"]) == ("4", "default")
    lines = forms[("--export",)].out
    assert 'export AMQP_URL="$(cat /run/secrets/AMQP_URL)"\n' in lines
    kept = "".join(line for line in lines.splitlines(keepends=True) if "/run/secrets" not in line)
    assert in_bash(f'{kept}printf "%s\\n" "$WORKER_LIMITS" "$WORKER_PREFIX" "$WORKER_FAIR_SHARES"') == [
        STRANGE, "prod", "false",
    ]  # fmt: skip
    escaped = STRANGE.replace("\\", "\\\\").replace('"', '\\"')
    composed = forms[("--compose",)].out
    assert composed.startswith("environment:\n  AMQP_URL: ${AMQP_URL:?}\n")
    assert f'  WORKER_LIMITS: "{escaped.replace("$", "$$")}"\n' in composed
    pod = forms[("--k8s",)].out
    assert f'  - name: WORKER_LIMITS\n    value: "{escaped.replace("$(", "$$(")}"\n' in pod
    assert "  - name: WORKER_SEAL_KEYS\n    valueFrom:\n      secretKeyRef:\n" in pod


async def test_a_secret_in_a_file_is_shown_by_its_path(told: Operator, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(told.shell.variables.pop("AMQP_URL") + "\n")
    told.shell.variables["AMQP_URL_FILE"] = str(file)
    shown = {each["variable"]: each for each in (await told.says("env", "--json")).records}
    exported = (await told.says("env", "--export")).out
    both = await told.shell.run("env", AMQP_URL=SECRETS["AMQP_URL"])

    assert (shown["AMQP_URL"]["value"], shown["AMQP_URL"]["source"]) == ("***", "file")
    assert (shown["AMQP_URL_FILE"]["value"], shown["AMQP_URL_FILE"]["secret"]) == (str(file), False)
    assert f"export AMQP_URL_FILE={file}\n" in exported
    assert "export AMQP_URL=" not in exported
    assert (both.code, PASSWORD in both.err) == (2, False)
    assert "AMQP_URL and AMQP_URL_FILE: set one of them, not both" in both.err


async def test_what_is_missing_or_wrong_is_told(told: Operator) -> None:
    told.shell.variables.clear()
    shown = {each["variable"]: each for each in (await told.says("env", "--json")).records}
    told.shell.variables["WORKER_POOL_SIZE"] = "many"
    wrong = await told.says("env", code=2)

    assert (shown["AMQP_URL"]["value"], shown["AMQP_URL"]["source"]) == ("", "not set")
    assert "WORKER_POOL_SIZE: " in wrong.err


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("", {"run", "requests", "--version"}, {"list", "--org"}),
        ("req", {"request", "requests"}, {"run"}),
        ("requests ", {"list", "retry", "explain"}, {"run"}),
        ("requests list --s", {"--status", "--since", "--sort"}, {"--org"}),
        ("requests list --org org-7 --status ", {"waiting", "failed"}, {"--org"}),
        ("requests list --org ", set(), {"--status", "list"}),
        ("dead replay --re", {"--rename", "--reason"}, {"--until"}),
        ("workers d", {"drain"}, {"show"}),
        ("completion ", {"bash", "zsh", "fish"}, set()),
        ("dead export --state kept tests.", {"tests.here"}, {"elsewhere"}),
    ],
)
async def test_bash_completes(
    operator: Operator, tmp_path: Path, typed: str, offered: set[str], not_offered: set[str]
) -> None:
    script = (await operator.says("completion", "bash")).out
    for name in ("tests.here", "elsewhere"):
        (tmp_path / name).touch()
    words = ["session-worker", *typed.split(" ")]
    array = " ".join(f'"{word}"' for word in words)

    found = set(
        in_bash(
            f"cd {tmp_path}; {script}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}\n"
            '_session_worker; printf "%s\\n" "${COMPREPLY[@]}"'
        )
    )

    assert found >= offered
    assert found & not_offered == set()


async def test_each_script_is_read_by_its_shell(operator: Operator) -> None:
    def read(shell: str, script: str) -> Outcome | None:
        if (program := shutil.which(shell)) is None:
            return None
        ended = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, check=False)  # noqa: S603 — as above
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    for shell in ("bash", "zsh", "fish"):
        script = (await operator.says("completion", shell)).out
        assert read(shell, script) in (None, Outcome(0, "", ""))


async def test_a_file_gives_what_the_environment_does_not_set(operator: Operator, tmp_path: Path) -> None:
    """A shell reads the same of its lines."""
    file = tmp_path / "worker.env"
    limits = shlex.quote(STRANGE)
    file.write_text(
        f"# ours\n\nWORKER_PREFIX=theirs\nexport WORKER_LIMITS={limits}\n WORKER_POOL_SIZE = 9\n", "utf-8"
    )
    wrong = await operator.says("env", "--env-file", str(file), code=2)
    assert "line 5 is not NAME=VALUE" in wrong.err
    file.write_text(
        f'# ours\n\nWORKER_PREFIX=theirs\nexport WORKER_LIMITS={limits}\nWORKER_POOL_SIZE="9"\n', "utf-8"
    )

    operator.shell.variables["WORKER_PREFIX"] = "mine"
    said = await operator.says("env", "--json", "--env-file", str(file))

    shown = {each["variable"]: each["value"] for each in said.records}
    assert (shown["WORKER_PREFIX"], shown["WORKER_POOL_SIZE"]) == ("mine", "9")
    assert shown["WORKER_LIMITS"] == STRANGE
    assert in_bash(f'. {file}; printf "%s\\n" "$WORKER_LIMITS"') == [STRANGE]
    for line in (f"AMQP_URL={PASSWORD}\nnonsense", 'AMQP_URL="$(cat /a)"', "AMQP_URL='open"):
        file.write_text(line, "utf-8")
        refused = await operator.says("requests", "list", "--env-file", str(file), code=2)
        assert f"--env-file {file}: line" in refused.err
        assert PASSWORD not in refused.err
    missing = await operator.says("env", "--env-file", str(tmp_path / "none"), code=2)
    assert missing.err == f"session-worker: --env-file {tmp_path / 'none'}: No such file or directory\n"
