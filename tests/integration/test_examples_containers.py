"""The examples for Docker and Kubernetes: valid, and run without either of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.support import RUN_SECONDS, record_line, schema_line, state_line
from tests.support.container_image import Image, build_image, read_instructions
from tests.support.example_loads import EXAMPLES, Tool, provide_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

COMPOSE: Final = EXAMPLES / "docker" / "compose.yaml"
SERVICES: Final[dict[str, Any]] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
MANIFEST: Final = EXAMPLES / "kubernetes" / "load.yaml"
CLAIM, CRON_JOB = yaml.safe_load_all(MANIFEST.read_text("utf-8"))
POD: Final[dict[str, Any]] = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the image is Linux"),
]


@pytest.fixture(scope="module")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the Dockerfile installs, or skip the tests if nothing can be installed."""
    try:
        return build_image(tmp_path_factory.mktemp("image"), SERVICES["sandbox"]["build"]["args"])
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"the image was not built in {error.timeout:.0f} s")
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stdout[-2000:])


@pytest.fixture
def image(built_image: Image) -> Image:
    """The image, with an empty `/data`."""
    for path in built_image.data.iterdir():
        path.unlink()
    return built_image


@pytest.fixture(scope="module")
def kubernetes_validate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """The JSON schemas of Kubernetes, with a command that applies them."""
    yield from provide_tool(tmp_path_factory, "kubernetes-validate>=1.34")


def install_tap(image: Image, *, waits: bool = False) -> None:
    """Make a tap where the image has it, which notes its arguments, and may wait for a signal."""
    lines = [
        schema_line("users", {"id": {"type": "integer"}}),
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
    ]
    script = f"#!/bin/sh\necho \"$*\" >> tap.calls\ncat <<'END'\n{chr(10).join(lines)}\nEND\n"
    tap = image.folder / "opt/tap/bin/tap-x"
    tap.write_text(script + ("exec sleep 600\n" if waits else ""), encoding="utf-8")
    tap.chmod(0o755)


def list_variables(sandbox: Sandbox) -> dict[str, str]:
    """Return the variables of the CronJob's container, for a load into the sandbox."""
    (container,) = POD["containers"]
    given = {entry["name"]: entry.get("value", "any") for entry in container["env"]}
    return given | {"TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url}


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + RUN_SECONDS
    while not path.exists() or not path.read_bytes():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Docker


def test_compose_file_is_valid() -> None:
    """The JSON schema of the Compose specification, as check-jsonschema carries it, accepts it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(COMPOSE)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_is_slim_and_not_root() -> None:
    """Both stages are slim; the last one runs as a user with a number, and keeps no cache."""
    instructions = read_instructions()
    bases = [part.text.split()[0] for part in instructions if part.name == "FROM"]
    assert len(bases) == 2
    assert all(base.endswith("-slim") for base in bases)
    (user,) = (int(part.text) for part in instructions if part.name == "USER")
    assert user == POD["securityContext"]["runAsUser"] > 0
    installs = re.findall(r"pip install \S+ \S+", " ".join(part.text for part in instructions))
    assert set(installs) == {"pip install --no-cache-dir --compile"}


@pytest.mark.parametrize(
    ("extras", "requirement"),
    [
        ("", "/source"),
        ("parquet", "/source[parquet]"),
        ("parquet,sandbox", "/source[parquet,sandbox]"),
    ],
    ids=["none", "one", "two"],
)
def test_extras_are_chosen_by_an_argument(extras: str, requirement: str) -> None:
    """By default the image has no extra: pip gets the path of the source alone."""
    steps = " ".join(part.text for part in read_instructions() if part.name == "RUN")
    (given,) = re.findall(r'--compile ("/source\S*")', steps)
    done = subprocess.run(
        ["/bin/sh", "-c", f"echo {given}"],
        env={"EXTRAS": extras},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )
    assert done.stdout.strip() == requirement


def test_image_has_bytecode_and_its_commands(image: Image) -> None:
    """The modules are compiled, and the default command is one that the image has."""
    package = next(image.folder.glob("opt/target/lib/*/site-packages/target_segment_objects"))
    for folder in (package, package.parent / "singer_sdk"):
        assert list(folder.glob("__pycache__/__init__*.pyc"))
    (command,) = (json.loads(part.text) for part in read_instructions() if part.name == "CMD")
    assert (image.folder / "usr/local/bin" / command[0]).stat().st_mode & 0o111
    process = image.start(["target-segment-objects", "--version"], {})
    output, _ = process.communicate(timeout=RUN_SECONDS)
    assert (process.returncode, output.split()[0]) == (0, "target-segment-objects")


def test_compose_services_load_the_sample(image: Image) -> None:
    """The sandbox serves, the load succeeds, `show` reports it, and SIGTERM stops the sandbox."""
    (image.folder / "samples").mkdir(exist_ok=True)
    sample = image.folder / "samples" / "nycflights13.singer.gz"
    if not sample.exists():
        sample.symlink_to(EXAMPLES.parent / "samples" / sample.name)
    serve = [argument.replace("8080", "0") for argument in SERVICES["sandbox"]["command"]]
    assert serve.count("--port=0") == 1
    with image.start(serve, {}) as server:
        try:
            address = image.data / "warehouse.duckdb.server.json"
            wait_for(server, address)
            port = re.findall(r":(\d+)", address.read_text("utf-8"))[0]
            variables = {
                name: value.replace("8080", port)
                for name, value in SERVICES["load"]["environment"].items()
            }
            load = image.start(SERVICES["load"]["command"], variables)
            output, _ = load.communicate(timeout=RUN_SECONDS)
            assert load.returncode == 0, output
            show = image.start(["segment-objects-sandbox", "show", "warehouse.duckdb"], {})
            report, _ = show.communicate(timeout=RUN_SECONDS)
            assert "planes: 1,203 objects" in report
        finally:
            server.send_signal(signal.SIGTERM)
        server.communicate(timeout=RUN_SECONDS)
    assert not address.exists()


# Kubernetes


def test_manifest_is_valid(kubernetes_validate: Tool, tmp_path: Path) -> None:
    """The JSON schemas of Kubernetes accept it, and would not accept a misspelt key."""
    broken = tmp_path / "broken.yaml"
    text = MANIFEST.read_text("utf-8")
    broken.write_text(text.replace("concurrencyPolicy", "concurencyPolicy"), encoding="utf-8")
    for path, is_valid in ((MANIFEST, True), (broken, False)):
        done = kubernetes_validate.run(
            "kubernetes-validate", "--strict", str(path), folder=tmp_path, environment={}
        )
        assert (done.returncode == 0) == is_valid, done.stdout


def test_cron_job_runs_one_load_at_a_time_with_its_files_on_a_volume() -> None:
    """It forbids a second run, and the folder of the STATE and the ledger is the claimed volume."""
    assert CRON_JOB["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = POD["containers"]
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    claim = mounts["/data"]["persistentVolumeClaim"]["claimName"]
    assert claim == CLAIM["metadata"]["name"]
    environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    assert environment["TARGET_SEGMENT_OBJECTS_LEDGER_PATH"].startswith("/data/")
    assert environment["TAP"].split()[-1].rpartition("/")[0] in mounts
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_second_job_continues_from_the_first(image: Image, sandbox: Sandbox) -> None:
    """STATE and ledger are kept: the second run gets both and sends nothing."""
    install_tap(image)
    (container,) = POD["containers"]
    outputs = []
    for _ in range(2):
        process = image.start(container["args"], list_variables(sandbox))
        output, _ = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == 0, output
        outputs.append(output)
    first, second = (image.data / "tap.calls").read_text("utf-8").splitlines()
    assert second == f"{first} --state state.json"
    assert (image.data / "state.json").read_text("utf-8") == '{"at":1}\n'
    assert sandbox.warehouse.count("users") == 1
    assert "1 unchanged" in outputs[1]


def test_signal_to_the_first_process_stops_tap_and_target(image: Image, sandbox: Sandbox) -> None:
    """SIGTERM to the first process alone ends the pipeline; the STATE is kept."""
    install_tap(image, waits=True)
    (container,) = POD["containers"]
    soon = {"TARGET_SEGMENT_OBJECTS_BATCH_MAX_AGE_SECONDS": "1"}
    process = image.start(container["args"], list_variables(sandbox) | soon)
    wait_for(process, image.data / "state.json")  # the target runs, and the tap waits
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 143, output
    assert sandbox.warehouse.count("users") == 1
    assert (image.data / "state.json").read_text("utf-8") == '{"at":1}\n'
