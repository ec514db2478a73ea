"""A real client logs to a real server through a network that fails in every way we know.

Whatever fails: what `log()` was called for arrives exactly once, training is not disturbed, and `finish()` is bounded.
How long the longest `log()` took is reported with `-rP`, never asserted: the machine may be busy.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.core.journal import Block, scan
from tracker.core.record import Kind

from .processes import Client, Server, free_port, judge, sync
from .proxy import FaultProxy

pytestmark = [pytest.mark.fault, pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")]

STALL_SECONDS = 8.0
PATIENT = {"TRACKER_FINISH_STALL_SECONDS": str(STALL_SECONDS)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the cases that leave it alive."""
    with Server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> float:
    """How much longer than in CI everything takes."""
    return 10.0 if request.config.getoption("--long") else 1.0


def report(name: str, measured: dict[str, float], proxy: FaultProxy | None = None) -> None:
    counts = dict(proxy.counts) if proxy else {}
    print(
        f"{name}: {measured['rows']} rows, longest log() {measured['longest_s'] * 1e3:.1f} ms, "
        f"finish() {measured['finish_s']:.2f} s, {counts}"
    )


def flap(folder: Path, server: Server, name: str, fault: str, seconds: float, probability: float = 1.0) -> FaultProxy:
    """Run a client; the fault is there for a third of its time, in the middle. Answer the proxy."""
    run_id = name.replace(":", "-")
    with FaultProxy(server.port) as proxy:
        client = Client(folder, proxy.url, run_id, seconds=seconds, environment=PATIENT)
        client.begun()
        time.sleep(seconds / 4)
        proxy.probability = probability
        proxy.fault = fault
        time.sleep(seconds / 3)
        proxy.fault = ""
        measured, said = client.result()
        report(name, measured, proxy)

        verdict = judge(folder, server, run_id)
        assert verdict.is_exact, (verdict, said)
        assert verdict.promised == measured["rows"] > 0
        assert server.run(run_id)["state"] == "finished"
        assert measured["finish_s"] < STALL_SECONDS
        assert "still on this machine" not in said
    return proxy


@pytest.mark.parametrize(
    ("fault", "probability"),
    [
        ("refuse", 1.0),
        ("blackhole", 1.0),
        ("reset_before", 1.0),
        ("reset_after", 0.7),
        ("duplicate", 1.0),
        ("half_response", 1.0),
        ("truncate_body", 1.0),
        ("cut_body", 0.7),
        ("slow_response", 1.0),
        ("garbage", 1.0),
        ("garbage_after", 1.0),
        ("delay:0.3", 1.0),
        ("status:500", 1.0),
        ("status:502", 1.0),
        ("status:503:1", 1.0),
        ("status:429:1", 1.0),
        ("status:413", 1.0),
        ("status:401", 1.0),
        ("status:403", 1.0),
        ("status:400", 1.0),
        ("status:404", 1.0),
    ],
)
def test_every_row_arrives_once_whatever_the_network_does(
    tmp_path: Path, server: Server, scale: float, fault: str, probability: float
) -> None:
    """Faults come in mid-run and go again; no command is needed afterwards."""
    proxy = flap(tmp_path, server, fault, fault, 2.4 * scale, probability)

    assert fault == "refuse" or proxy.counts[fault.partition(":")[0]] > 0


def test_a_plan_of_all_faults_doubles_nothing(tmp_path: Path, server: Server, scale: float) -> None:
    """Answers are lost and deliveries doubled many times over, one fault after the other."""
    plan = ["reset_after", "duplicate", "half_response", "garbage_after", "truncate_body", "status:503", "reset_before"]
    with FaultProxy(server.port, seed=7) as proxy:
        client = Client(tmp_path, proxy.url, "plan", seconds=5 * scale, rate=2000, environment=PATIENT)
        client.begun()
        proxy.probability = 0.6
        end = time.monotonic() + 4 * scale
        while time.monotonic() < end:
            for fault in plan:
                proxy.fault = fault
                time.sleep(0.3)
        proxy.fault = ""
        measured, said = client.result()
        report("plan", measured, proxy)

    verdict = judge(tmp_path, server, "plan")
    assert verdict.is_exact, (verdict, said)
    assert proxy.counts["delivered"] > 5


def test_retry_after_is_obeyed(tmp_path: Path, server: Server) -> None:
    """A server that asks for two seconds is not asked again before."""
    with FaultProxy(server.port) as proxy:
        # Files of the code go by connections of their own, each of which meets the refusal for itself.
        plain = {"TRACKER_DISABLE_META": "true", "TRACKER_DISABLE_CODE": "true", "TRACKER_DISABLE_GIT": "true"}
        client = Client(tmp_path, proxy.url, "retry-after", seconds=5, environment={**PATIENT, **plain})
        client.begun()
        time.sleep(0.5)
        proxy.fault = "status:429:2"
        time.sleep(3)
        proxy.fault = ""
        client.result()
        refused = proxy.counts["status"]

    assert 1 <= refused <= 2
    assert judge(tmp_path, server, "retry-after").is_exact


def test_a_limit_of_the_server_is_kept(tmp_path: Path, server: Server) -> None:
    """413 for large bodies: smaller ones are sent; nothing is lost by it."""
    with FaultProxy(server.port) as proxy:
        proxy.rule = lambda body: 413 if len(body) > 2048 else None
        proxy.fault = "refuse"  # so that much gathers
        client = Client(tmp_path, proxy.url, "limit", seconds=2.5, rate=3000, environment=PATIENT)
        client.begun()
        time.sleep(1.2)
        proxy.fault = ""
        measured, _ = client.result()
        report("limit", measured, proxy)

    assert proxy.counts["rule"] > 0
    assert judge(tmp_path, server, "limit").is_exact


@pytest.mark.parametrize("status", [400, 422, 413])
def test_one_record_that_is_refused_stops_no_other(tmp_path: Path, server: Server, status: int) -> None:
    """It is set aside, that is said, and it alone is missing on the server."""

    def refuses(body: bytes) -> int | None:
        for frame in scan(body):
            if frame.kind == Kind.BLOCK:
                rows = Block.from_frame(frame).rows()
            elif frame.kind == Kind.ROW:
                rows = Block.from_rows(frame.seq, [frame.payload]).rows()
            else:
                continue
            if any(values["i"] == 111 for _, _, values in rows):
                return status
        return None

    run_id = f"refused-{status}"
    with FaultProxy(server.port) as proxy:
        proxy.rule = refuses
        client = Client(tmp_path, proxy.url, run_id, seconds=2, environment={"TRACKER_FINISH_STALL_SECONDS": "15"})
        measured, said = client.result()
        report(run_id, measured, proxy)
    verdict = judge(tmp_path, server, run_id)

    assert verdict.lost == [111]
    assert not (verdict.doubled or verdict.wrong or verdict.invented)
    assert "is refused by the server and set aside" in said


def test_a_server_that_is_down_costs_nothing_but_a_bounded_finish(tmp_path: Path, server: Server) -> None:
    """The address is wrong for the whole run: it says so and what sends the rest, and that command does."""
    environment = {"TRACKER_FINISH_STALL_SECONDS": "2"}
    url = f"http://127.0.0.1:{free_port()}"
    client = Client(tmp_path, url, "down", seconds=3, environment=environment)
    measured, said = client.result()
    report("down", measured)

    assert 1 < measured["finish_s"] < 4.5
    assert measured["start_s"] < 5
    assert "connection refused" in said
    assert "are still on this machine only. Send them with: tracker sync" in said
    assert said.count("connection refused") == 1
    process = sync(tmp_path, f"http://127.0.0.1:{server.port}")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, out + errors
    assert judge(tmp_path, server, "down").is_exact


@pytest.mark.parametrize("fault", ["vanish", "slow_response", "status:503:60"])
def test_a_server_that_hangs_does_not_hold_the_process(tmp_path: Path, server: Server, fault: str) -> None:
    """From the first request on: finish() is bounded, and the thread that waits for an answer ends with the process."""
    run_id = f"hangs-{fault.partition(':')[0]}"
    with FaultProxy(server.port) as proxy:
        proxy.fault = fault
        proxy.trickle_seconds = 1.0
        client = Client(tmp_path, proxy.url, run_id, seconds=1.5, environment={"TRACKER_FINISH_STALL_SECONDS": "1"})
        client.begun()
        began = time.monotonic()
        measured, said = client.result()
        report(run_id, measured, proxy)

    assert measured["finish_s"] < 3
    assert time.monotonic() - began < 10
    assert "still on this machine only" in said


def test_what_one_run_leaves_the_next_one_sends(tmp_path: Path, server: Server) -> None:
    """No command is needed where another run starts with the same server."""
    with FaultProxy(server.port) as proxy:
        proxy.fault = "refuse"
        environment = {"TRACKER_FINISH_STALL_SECONDS": "0.5"}
        _, said = Client(tmp_path, proxy.url, "before", seconds=1, environment=environment).result()
        proxy.fault = ""
        Client(tmp_path, proxy.url, "after", seconds=3, environment=PATIENT).result()

    assert "still on this machine" in said
    assert judge(tmp_path, server, "before").is_exact
    assert judge(tmp_path, server, "after").is_exact


def test_the_server_is_killed_and_started_again_in_mid_run(tmp_path: Path, scale: float) -> None:
    """SIGKILL, some of it between commit and answer; what it acknowledged it has."""
    with Server(tmp_path / "store") as server, FaultProxy(server.port) as proxy:
        client = Client(tmp_path, proxy.url, "killed", seconds=7 * scale, rate=1000, environment=PATIENT)
        client.begun()
        for fault in ["", "reset_after"] * max(1, int(scale)):
            proxy.fault = fault
            time.sleep(1)
            server.kill()
            server.start()
            proxy.fault = ""
        measured, said = client.result()
        report("killed", measured, proxy)

        verdict = judge(tmp_path, server, "killed")
        assert verdict.is_exact, (verdict, said)


def test_a_frozen_server_is_waited_for(tmp_path: Path, scale: float) -> None:
    """SIGSTOP for three seconds: `log()` does not notice."""
    with Server(tmp_path / "store") as server:
        client = Client(
            tmp_path, f"http://127.0.0.1:{server.port}", "frozen", seconds=4 + 3 * scale, environment=PATIENT
        )
        client.begun()
        time.sleep(0.5)
        server.freeze()
        time.sleep(3 * scale)
        server.thaw()
        measured, said = client.result()
        report("frozen", measured)

        verdict = judge(tmp_path, server, "frozen")
        assert verdict.is_exact, (verdict, said)


def test_a_client_killed_in_mid_run_is_completed_by_sync(tmp_path: Path, server: Server) -> None:
    """The journal has every row for which `log()` had returned; syncing three times at once sends each once."""
    url = f"http://127.0.0.1:{server.port}"
    client = Client(tmp_path, url, "killed-client", seconds=60, rate=3000)
    client.begun()
    time.sleep(1.5)
    client.process.kill()
    client.process.communicate()
    processes = [sync(tmp_path, url) for _ in range(3)]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]

    verdict = judge(tmp_path, server, "killed-client")
    assert all(code == 0 for _, _, code in results), results
    assert verdict.is_exact, verdict
    assert verdict.promised > 500


def test_syncs_beside_a_run_that_is_being_written(tmp_path: Path, server: Server) -> None:
    """The run's own sender, a sync that follows, and one more: each row arrives once, all end by themselves."""
    with FaultProxy(server.port) as proxy:
        client = Client(tmp_path, proxy.url, "beside", seconds=4, rate=1000, environment=PATIENT)
        client.begun()
        proxy.fault, proxy.probability = "reset_after", 0.3
        processes = [sync(tmp_path, proxy.url, "--follow"), sync(tmp_path, proxy.url)]
        measured, _ = client.result()
        proxy.fault = ""
        results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
        report("beside", measured, proxy)

    verdict = judge(tmp_path, server, "beside")
    assert results[0][2] == 0, results[0]
    assert verdict.is_exact, verdict


def test_a_key_that_is_replaced_in_mid_run(tmp_path: Path) -> None:
    """The run says how to go on, keeps everything, and goes on with the new key without a restart."""
    config = tmp_path / "config"
    config.mkdir()
    with Server(tmp_path / "store", wants_key=True) as server:
        assert server.key is not None
        old = server.key
        url = f"http://127.0.0.1:{server.port}"
        environment = {"TRACKER_API_KEY": old, "TRACKER_CONFIG_DIR": str(config), "TRACKER_FINISH_STALL_SECONDS": "20"}
        client = Client(tmp_path, url, "key", seconds=6, environment=environment)
        client.begun()
        time.sleep(1)
        server.replace_key()
        time.sleep(2)
        (config / "settings.toml").write_text(f'base_url = "{url}"\napi_key = "{server.key}"\n')
        measured, said = client.result()
        report("key", measured)

        assert "refuses the API key" in said
        assert judge(tmp_path, server, "key").is_exact
        secrets = [old.encode(), server.key.encode()]
        texts = [said.encode(), *(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())]
        assert not any(secret in text for secret in secrets for text in texts)


def test_connections_that_vanish_are_given_up(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> None:
    """No answer, no reset, for ever: the request is bounded, and the next one gets through."""
    if not request.config.getoption("--long"):
        pytest.skip("waits for a read timeout of 20 s: --long")
    flap(tmp_path, server, "vanish", "vanish", 40)
