"""Each vulnerability, licence and image that comes from elsewhere is judged; the container may do little."""

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import audit
import images
import licences
import pytest
import release
import yaml
from judged import LOCKS, Judgement, judged, passed, pinned

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
SERVICES: dict[tuple[str, str], dict[str, Any]] = {
    (file, name): service
    for file in ("docker-compose.yml", "docker-compose.cluster.yml")
    for name, service in yaml.safe_load((ROOT / file).read_text("utf-8"))["services"].items()
}
OWN = [(file, name) for file, name in SERVICES if name in ("migrate", "worker", "console")]


def test_no_judgement_has_passed() -> None:
    """After its day, a vulnerability is to be judged anew, or another version is to be pinned."""
    assert list(passed(judged().vulnerabilities, datetime.now(UTC).date())) == []


def test_a_judgement_holds_through_its_day_and_no_longer() -> None:
    judgement = Judgement(id="GHSA-1", package="a", why="never called", until=date(2026, 1, 2))

    assert list(passed((judgement,), date(2026, 1, 2))) == []
    assert list(passed((judgement,), date(2026, 1, 3))) == [judgement]


def test_a_vulnerability_is_judged_by_any_of_its_names_and_for_its_package_alone() -> None:
    vulns = [{"id": "PYSEC-1", "aliases": ["CVE-1", "GHSA-1"], "fix_versions": ["1.1"]}]
    found = audit.found_in([{"name": "A", "version": "1.0", "vulns": vulns}])

    def left(package: str, name: str) -> list[audit.Vulnerability]:
        return audit.not_judged(found, [Judgement(name, package, "why", date(2026, 1, 2))])

    assert [each.mended_in for each in found] == ["1.1"]
    assert left("a", "GHSA-1") == left("a", "PYSEC-1") == []
    assert left("b", "GHSA-1") == left("a", "GHSA-2") == found


def test_what_could_not_be_looked_up_is_not_taken_for_sound() -> None:
    with pytest.raises(audit.UnknownError, match="1 packages were not looked up; a: not found"):
        audit.found_in(
            [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}]
        )


def test_every_lock_file_is_audited_and_pins_with_hashes() -> None:
    assert {lock.name for lock in LOCKS} == {file.name for file in (ROOT / "requirements").iterdir()}
    for lock in LOCKS:
        text = lock.read_text("utf-8")
        assert (
            len(pinned(lock)) == len(re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)) > 0
        )


def test_each_licence_is_on_the_list() -> None:
    assert licences.wrong_ones() == []


def test_a_package_with_another_licence_is_one_of_ours_and_has_a_reason() -> None:
    packages = {name for lock in LOCKS for name in pinned(lock)}

    assert judged().other_licences.keys() <= packages
    assert all(judged().other_licences.values())


def test_each_image_has_a_digest_or_a_reason() -> None:
    found, excused = images.images(), judged().without_digest

    assert {image.name for image in found if not image.digest} == set(excused)
    assert all(excused.values())


def test_compose_lint_excuses_the_images_without_a_digest_and_services_that_are_there() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "compose-lint.yml").read_text("utf-8"))["rules"]
    excused = {rule: set(each["exclude_services"]) for rule, each in rules.items()}

    assert excused["CL-0019"] == {
        name for (_, name), service in SERVICES.items() if "@sha256:" not in service["image"]
    }
    assert set().union(*excused.values()) <= {name for _, name in SERVICES}


def test_images_are_pinned_anew_by_their_tags(tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    (tmp_path / "Dockerfile").write_text("FROM python:3 AS build\nFROM python:3\nCOPY --from=build /a /a\n")
    (tmp_path / "docker-compose.yml").write_text(
        f"  a:\n    image: postgres:18@sha256:{'b' * 64} # as pinned\n  b:\n    image: session-worker:local\n"
    )

    (tmp_path / "docker-compose.cluster.yml").write_text("  a:\n    image: postgres:18\n")

    images.renew(tmp_path, {"python:3": digest, "postgres:18": digest})

    assert (tmp_path / "Dockerfile").read_text().count(f"FROM python:3@{digest}") == 2
    assert f"image: postgres:18@{digest} # as pinned\n" in (tmp_path / "docker-compose.yml").read_text()
    assert {image.digest for image in images.images(tmp_path)} == {digest}


@pytest.mark.parametrize("name", OWN, ids="-".join)
def test_our_containers_write_nowhere_and_may_do_nothing(name: tuple[str, str]) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["mem_limit"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES, ids="-".join)
def test_no_container_can_get_more_rights_or_is_open_to_the_network(name: tuple[str, str]) -> None:
    service = SERVICES[name]

    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert "/var/run/docker.sock" not in str(service.get("volumes"))


def test_the_image_needs_no_user_of_its_own_and_no_place_to_write() -> None:
    last = DOCKERFILE.rpartition("FROM ")[2]

    assert re.search(r"^USER \d+$", last, re.MULTILINE), "a number, which Kubernetes can see is not root's"
    assert "PYTHONDONTWRITEBYTECODE=1" in last
    assert "--chown" not in last, "what it runs belongs to root: nothing that runs may change it"
    assert not re.search(r"^(ADD|VOLUME) ", DOCKERFILE, re.MULTILINE)
    assert [line for line in DOCKERFILE.splitlines() if "pip" in line and " install " in line and not
            re.search(r"--require-hashes|--no-index", line)] == []  # fmt: skip
    assert re.search(r"^ENTRYPOINT \[", last, re.MULTILINE)
    assert re.search(r"^ENV WORKER_HTTP_HOST=0\.0\.0\.0$", last, re.MULTILINE)


def test_the_image_says_what_it_is_and_is_built_from_what_builds_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    said = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.+)"', DOCKERFILE))

    assert said == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
    }
    copied = {
        word
        for line in re.findall(r"^COPY ([^-\n].*) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    }
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert copied == set(sent) >= {*release.PACKAGES, "deploy/public_name.py"}


def test_every_port_of_the_worker_is_closed_to_others_unless_somebody_opens_it() -> None:
    text = (ROOT / "worker" / "settings.py").read_text("utf-8")

    assert '"0.0.0.0"' not in text
    assert tomllib.loads((ROOT / "deploy" / "supply.toml").read_text("utf-8"))
