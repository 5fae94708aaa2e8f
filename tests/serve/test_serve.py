"""`bench serve`: what it shows, and what it refuses to."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from bench.serve.server import Server, make_server
from bench.serve.site import Site
from fake_records import change_record, make_record, write_record

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(own_folder: Path) -> Path:
    """The folder of a run with pictures, and a file that is none of the site's beside them."""
    folder = write_record(own_folder / "runs", make_record("padim", auroc=0.8))
    (folder / "most_anomalous.png").write_bytes(PNG)
    (folder / "model.ckpt").write_bytes(b"weights")
    return folder


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    server = make_server(Site([run.parents[2]], intervals=False), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def get(server: Server):
    """GET a path as it stands; status, body, headers."""

    def ask(path: str, host: str | None = None, method: str = "GET"):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, answer.headers

    return ask


def test_the_index_leads_to_leaderboards_and_runs(get, run):
    status, body, headers = get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'href="mvtec_ad-one-class.html"' in body
    assert f'href="runs/{run.name}/"'.encode() in body


def test_a_leaderboard_is_built_from_the_records_and_leads_to_the_runs(get, run):
    status, body, _ = get("/mvtec_ad-one-class.html")
    assert status == 200
    assert b"0.8000" in body
    assert f'href="runs/{run.name}/"'.encode() in body
    assert b'<a href="./">All runs</a>' in body


def test_a_changed_record_changes_the_page(get, run):
    get("/")
    write_record(run.parents[2], make_record("newcomer", auroc=0.9))
    assert b"newcomer" in get("/mvtec_ad-one-class.html")[1]


def test_a_run_has_a_page_with_its_pictures_from_local_disk(get, run):
    status, body, headers = get(f"/runs/{run.name}/")
    assert status == 200
    assert b'<img src="most_anomalous.png" alt="most anomalous"' in body
    assert b"report.html" not in body
    assert "img-src 'self'" in headers["Content-Security-Policy"]
    status, body, headers = get(f"/runs/{run.name}/most_anomalous.png")
    assert (status, body, headers["Content-Type"]) == (200, PNG, "image/png")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_report_of_a_run_is_linked_and_sent(get, run):
    (run / "report.html").write_text("<p>a report</p>")
    assert b'href="report.html"' in get(f"/runs/{run.name}/")[1]
    assert get(f"/runs/{run.name}/report.html")[:2] == (200, b"<p>a report</p>")


def test_a_failed_run_is_shown_with_its_error(get, run):
    change_record(run, status="failed", error="the loss is <b>NaN</b>")
    body = get("/")[1]
    assert b"failed: the loss is &lt;b&gt;NaN&lt;/b&gt;" in body
    assert b"No finished run yet" in body


def test_a_run_that_is_no_longer_what_it_says_is_named(get, run):
    change_record(run, config=make_record(seed=7).config)
    assert b"was changed: its fingerprint is not that of its settings" in get("/")[1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "", "127.0.0.1.evil.example:{port}", "127.0.0.1:1"]
)
def test_another_host_is_refused(get, server, host):
    status, body, _ = get("/", host=host.format(port=server.server_port))
    assert (status, b"leaderboard" in body) == (421, False)


def test_localhost_is_no_other_host(get, server):
    assert get("/", host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/runs/{run}/../../../../../etc/passwd",
        "/runs/{run}/..%2f..%2fsecret.png",
        "/runs/{run}/%2e%2e/secret.png",
        "/runs/../secret.png",
        "/runs/..%2f/secret.png",
        "/secret.png",
        "//etc/passwd",
        "/runs/{run}/model.ckpt",
        "/runs/{run}/%00",
        "/runs/unknown/",
        "/runs/{run}",
    ],
)
def test_what_the_site_does_not_name_is_not_found(get, run, path):
    for folder in run.parents[:4]:
        (folder / "secret.png").write_bytes(b"secret")
    status, body, _ = get(path.format(run=run.name))
    assert (status, b"secret" in body) == (404, False)


def test_links_are_not_followed(get, run, own_folder):
    (own_folder / "secret.png").write_bytes(b"secret")
    (run / "linked.png").symlink_to(own_folder / "secret.png")
    assert b"linked.png" not in get(f"/runs/{run.name}/")[1]
    assert get(f"/runs/{run.name}/linked.png")[0] == 404


def test_a_folder_that_becomes_a_link_is_not_followed(get, run, own_folder):
    get("/")
    outside = own_folder / "outside"
    outside.mkdir()
    (outside / "most_anomalous.png").write_bytes(b"secret")
    run.rename(own_folder / "gone")
    run.symlink_to(outside)
    assert get(f"/runs/{run.name}/most_anomalous.png")[0] == 404


def test_it_only_answers(get):
    assert get("/", method="POST")[0] == 501
    assert get("/", method="HEAD")[:2] == (200, b"")


def test_it_listens_on_the_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_mistakes_are_one_line(refuse, server, own_folder):
    assert "name another: --port" in refuse("serve", "runs", "--port", server.server_port)
    assert "no port 70000" in refuse("serve", "runs", "--port", "70000")
    assert "no folder of records nowhere" in refuse("serve", "nowhere")


def test_it_says_its_address_and_an_interrupt_ends_it(run, own_folder):
    command = [sys.executable, "-m", "bench", "serve", "runs", "--port", "0"]
    process = subprocess.Popen(command, cwd=own_folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        assert line.endswith("/ shows runs; Ctrl-C ends it\n")
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (130, "bench: interrupted\n")


@pytest.mark.slow
def test_a_browser_shows_the_pictures_and_complains_of_nothing(chromium, server, run):
    Image.new("RGB", (30, 20)).save(run / "most_anomalous.png")
    noise = []
    page = chromium.new_page()
    page.set_default_timeout(120_000)
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.get_by_role("link", name="mvtec_ad-one-class").click()
    page.get_by_role("button", name="padim").click()
    page.get_by_role("link", name=run.name).click()
    picture = page.get_by_role("img", name="most anomalous")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 30
    page.get_by_role("link", name="All runs").click()
    page.get_by_role("link", name="mvtec_ad-one-class").click()
    page.get_by_role("link", name="All runs").click()
    assert page.get_by_role("heading", name="Leaderboards").is_visible()
    page.close()
    assert noise == []
