"""What people see and do, in Chromium."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, JSHandle, Page, expect

from accessibility import violations
from tritonclip import Client
from tritonclip_gateway.serving import HttpServer
from tritonclip_search import open_collection

pytestmark = pytest.mark.browser

POLICY = """\
name: shop
neutral: [an animal, a plant, a building, a rocket, a person, a round fruit, a key]
rules:
  - name: weapon
    any: [a dagger, crossed swords]
    unless: [a kitchen knife]
    action: block
  - name: food
    any: [a lemon, sushi]
    action: label
"""


def names(page: Page) -> list[str]:
    """Of the hits in sight, in order."""
    expect(page.locator(".hit .name").first).to_be_visible()
    return [name.removesuffix(".png") for name in page.locator(".hit .name").all_inner_texts()]


def ask(page: Page, text: str) -> list[str]:
    with page.expect_response("**/v1/search"):
        page.get_by_label("Describe a picture").fill(text)
    expect(page.get_by_role("status").first).to_contain_text("ms")
    return names(page)


def transfer(page: Page, name: str, content: bytes, type: str = "image/png") -> JSHandle:
    """A file, as dropping or pasting hands it over."""
    return page.evaluate_handle(
        """([name, content, type]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [name, base64.b64encode(content).decode(), type],
    )


def drop(page: Page, name: str, content: bytes, type: str = "image/png") -> None:
    page.dispatch_event("main", "drop", {"dataTransfer": transfer(page, name, content, type)})


def test_hits_come_while_one_types_and_are_those_of_the_collection(
    page: Page, archive: Path, triton: Client
) -> None:
    expect(page.get_by_role("status").first).to_have_text("9 pictures in the collection “pictures”")
    page.get_by_label("Describe a picture").press_sequentially("a citrus fruit", delay=15)

    expect(page.get_by_role("status").first).to_contain_text("9 pictures, the nearest first")
    with open_collection(str(archive), triton) as collection:
        expected = collection.search("a citrus fruit", top=9)
    found = [Path(hit.path).name for hit in expected]
    expect(page.locator(".hit .name")).to_have_text(found)  # at last, as all of it is typed
    assert page.locator(".hit .score").first.inner_text() == f"{expected[0].score:.3f}"
    assert page.locator(".picture img").first.evaluate(
        "img => img.decode().then(() => img.naturalWidth)"
    )
    shares = page.locator(".bar").evaluate_all(
        "all => all.map((x) => x.style.getPropertyValue('--share'))"
    )
    assert [float(share) for share in shares] == pytest.approx(
        [max(hit.score / expected[0].score, 0) for hit in expected], abs=1e-3
    )


def test_excluded_words_are_chips_that_can_be_taken_away(page: Page) -> None:
    before = ask(page, "a citrus fruit")
    field = page.get_by_label("Without")
    with page.expect_response("**/v1/search") as response:
        field.fill("a lemon")
        field.press("Enter")

    assert response.value.request.post_data_json["without"] == ["a lemon"]
    expect(page.locator(".hit .name").last).not_to_have_text(f"{before[-1]}.png")
    assert names(page) != before
    with page.expect_response("**/v1/search"):
        page.get_by_role("button", name="Remove a lemon").click()
    expect(page.locator(".chip")).to_have_count(0)
    expect(field).to_be_focused()


def test_a_mistake_in_the_filter_is_explained_beside_it_and_the_hits_stay(page: Page) -> None:
    before = ask(page, "a cat")
    where = page.get_by_label("Where")

    where.fill("colour = red")
    expect(page.get_by_role("alert")).to_contain_text("there is no field 'colour'")
    assert names(page) == before
    where.fill("width > 100")
    expect(page.get_by_role("heading", name="Nothing there")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="Search all of them").click()
    assert names(page) == before


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_finds_what_is_like_it(
    page: Page, twemoji: dict[str, bytes], pictures: Path, way: str
) -> None:
    if way == "drop":
        drop(page, "guitar.png", twemoji["guitar"])
    elif way == "paste":
        data = transfer(page, "guitar.png", twemoji["guitar"])
        page.evaluate(
            "clipboardData => dispatchEvent(new ClipboardEvent('paste', { clipboardData }))", data
        )
    else:
        page.get_by_label("Search by a picture").set_input_files(pictures / "guitar.png")

    expect(page.locator(".hit").first).to_contain_text("1.000")
    assert names(page)[0] == "guitar"
    page.get_by_role("button", name="Remove guitar.png").click()
    expect(page.get_by_role("heading", name="Say what you are looking for")).to_be_visible()


def test_what_is_no_picture_is_refused_with_a_reason(page: Page) -> None:
    drop(page, "notes.txt", b"hello", "text/plain")
    expect(page.get_by_role("status").first).to_contain_text("That is no picture")
    drop(page, "broken.png", b"\x89PNG")
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(page.locator("#search-notice")).to_contain_text("not a supported image")


def test_all_of_it_goes_by_the_keyboard_alone(page: Page) -> None:
    keys = page.keyboard
    page.locator("body").click()
    keys.press("/")
    keys.type("a cat")
    expect(page.get_by_role("status").first).to_contain_text("the nearest first")
    first, second, *_ = names(page)

    keys.press("ArrowDown")
    keys.press("ArrowRight")
    expect(page.locator(".hit:focus .name")).to_have_text(f"{second}.png")
    keys.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("heading")).to_have_text(f"{second}.png")
    keys.press("ArrowLeft")
    expect(viewer.get_by_role("heading")).to_have_text(f"{first}.png")
    keys.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.locator(".hit:focus .name")).to_have_text(f"{first}.png")
    keys.press("ArrowUp")
    expect(page.get_by_label("Describe a picture")).to_be_focused()
    keys.press("Tab")  # the file
    keys.press("Tab")  # what to leave out
    keys.type("dog")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Remove dog")).to_be_visible()
    keys.press("Backspace")
    expect(page.locator(".chip")).to_have_count(0)
    page.get_by_role("tab", name="Search").focus()
    keys.press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Zero-shot")).to_be_visible()


def test_more_like_this_is_a_step_that_back_undoes(page: Page) -> None:
    before = ask(page, "a fruit")
    page.locator(".hit").nth(2).click()
    page.get_by_role("button", name="More like this").click()

    expect(page.locator(".hit").first).to_contain_text("1.000")
    assert names(page)[0] == before[2]
    assert "like=" in page.url
    page.go_back()
    expect(page.get_by_label("Describe a picture")).to_have_value("a fruit")
    expect(page.locator(".hit .name").first).to_have_text(f"{before[0]}.png")


def test_an_address_opens_the_same_search(page: Page) -> None:
    before = ask(page, "a citrus fruit")
    address = page.url
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto("about:blank")
    page.goto(address)

    assert names(page) == before
    assert sent
    assert not any("citrus" in url for url in sent if "#" not in url)


def test_of_many_pictures_only_those_in_sight_exist(
    browser: Browser, start: Callable[..., Any], gateway: HttpServer, many: Path
) -> None:
    with start(triton=gateway.gateway.settings.triton, archive=str(many)) as other:
        page = browser.new_page(base_url=other.url, viewport={"width": 1000, "height": 700})
        page.goto("/")
        ask(page, "a cat")
        expect(page.get_by_role("status").first).to_contain_text(
            "The nearest 10,000 of 12,009 pictures"
        )

        assert page.locator(".hit").count() < 100
        page.locator(".hit").first.focus()
        page.keyboard.press("End")
        last = page.locator("li[aria-posinset='10000'] .hit")
        expect(last).to_be_focused()
        expect(last.locator(".score")).to_be_visible(timeout=20_000)
        assert page.locator(".hit").count() < 100
        page.keyboard.press("Home")
        expect(page.locator("li[aria-posinset='1'] .hit")).to_be_focused()
        page.close()


def test_a_moment_of_a_video_plays_from_its_time_to_its_end(
    browser: Browser, start: Callable[..., Any], gateway: HttpServer, filmed: Path
) -> None:
    with start(triton=gateway.gateway.settings.triton, archive=str(filmed)) as other:
        page = browser.new_page(base_url=other.url)
        with page.expect_response("**/v1/search") as response:
            page.goto("/#search?text=a+rocket")
        found = response.value.json()["data"][0]
        assert (found["start"], found["end"]) == (4, pytest.approx(8, abs=0.2))
        hit = page.locator(".hit").first
        expect(hit.locator(".time")).to_have_text(f"0:04–0:0{int(found['end'])}")
        frame = hit.locator("img").evaluate("img => img.decode().then(() => img.naturalWidth)")
        assert frame == 144
        hit.click()

        played = page.locator("video").evaluate(
            """(video) => new Promise((done) => {
                const times = [];
                video.ontimeupdate = () => times.push(video.currentTime);
                video.onpause = video.onended = () => done(times);
            })"""
        )
        assert played == sorted(played)
        assert min(played) >= found["start"]
        assert max(played) == pytest.approx(found["end"], abs=0.3)
        page.get_by_role("button", name="Close").click()
        expect(page.locator("video")).to_have_count(0)
        page.close()


def test_labels_have_probabilities_as_the_client_gives_them(
    page: Page, triton: Client, pictures: Path
) -> None:
    page.get_by_role("tab", name="Zero-shot").click()
    page.get_by_label("Labels").fill("dog\ncat\nrocket\n\ncat")
    drop(page, "cat.png", (pictures / "cat.png").read_bytes())

    rows = page.get_by_role("list", name="Probabilities").get_by_role("listitem")
    expected = triton.classify(pictures / "cat.png", ["dog", "cat", "rocket"]).top(3)
    expect(rows).to_have_text([f"{label}{100 * p:.1f} %" for label, p in expected])
    page.get_by_label("Labels").fill("dog")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("100.0 %")


def test_each_tab_has_an_address_and_back_leads_to_the_one_before(
    page: Page, gateway: HttpServer
) -> None:
    page.goto("about:blank")
    page.goto(f"{gateway.url}/#zero-shot")
    expect(page.get_by_role("tabpanel", name="Zero-shot")).to_be_visible()
    page.get_by_role("tab", name="Search").click()
    expect(page.get_by_role("heading", name="Say what you are looking for")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Zero-shot")).to_be_visible()


def test_a_policy_decides_and_shows_what_from(
    browser: Browser,
    start: Callable[..., Any],
    gateway: HttpServer,
    twemoji: dict[str, bytes],
    tmp_path: Path,
) -> None:
    policy = tmp_path / "shop.yaml"
    policy.write_text(POLICY)
    with start(
        triton=gateway.gateway.settings.triton, default_model="demo", policy=policy
    ) as other:
        page = browser.new_page(base_url=other.url)
        page.goto("/#policy")
        expect(page.locator("#policy-status")).to_contain_text("Drop pictures")
        drop(page, "lemon.png", twemoji["lemon"])
        expect(page.locator("#decisions > li")).to_have_count(1)
        drop(page, "dagger.png", twemoji["dagger"])

        decisions = page.locator("#decisions > li")
        expect(decisions).to_have_count(2)
        expect(decisions.nth(0).locator(".decision")).to_have_text("block")
        expect(decisions.nth(0)).to_contain_text("weapon: “a dagger”")
        expect(decisions.nth(0).locator(".applies")).to_contain_text("✓ weapon → block")
        expect(decisions.nth(1).locator(".decision")).to_have_text("label")
        expect(decisions.nth(1).locator(".bars li")).to_have_count(2)
        drop(page, "broken.png", b"\x89PNG")
        expect(page.locator("#policy-status")).to_contain_text("broken.png: item 0")
        expect(decisions).to_have_count(2)
        page.close()


def test_without_a_policy_the_page_says_how_to_give_one(
    page: Page, twemoji: dict[str, bytes]
) -> None:
    page.get_by_role("tab", name="Policy").click()
    drop(page, "cat.png", twemoji["cat"])
    expect(page.locator("#policy-status")).to_contain_text("start it with --policy FILE")


def test_a_key_is_asked_for_and_opens_pictures_too(
    browser: Browser, start: Callable[..., Any], gateway: HttpServer, archive: Path
) -> None:
    triton = gateway.gateway.settings.triton
    with start(triton=triton, archive=str(archive), keys="secret") as other:
        page = browser.new_page(base_url=other.url)
        page.goto("/#search?text=a+cat")
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="That key is not valid here")).to_be_visible()
        page.get_by_label("API key").fill("secret")
        page.keyboard.press("Enter")
        picture = page.locator(".hit img").first
        assert picture.evaluate("img => img.decode().then(() => img.naturalWidth)") == 72
        page.close()


def test_a_gateway_that_is_gone_is_said_to_be_and_is_asked_again(
    browser: Browser, start: Callable[..., Any], gateway: HttpServer, archive: Path
) -> None:
    settings = {"triton": gateway.gateway.settings.triton, "archive": str(archive)}
    with start(**settings) as first:
        page = browser.new_page(base_url=first.url)
        page.goto("/")
        ask(page, "a cat")
        port = int(first.url.rpartition(":")[2])
    page.get_by_label("Describe a picture").fill("a dog")

    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(page.locator("#search-notice")).to_contain_text("The gateway does not answer")
    with start(**settings, port=port):
        page.get_by_role("button", name="Try again").click()
        assert names(page)[0] == "dog"
    page.close()


def test_without_an_archive_the_page_says_how_to_give_one(
    browser: Browser, start: Callable[..., Any], gateway: HttpServer
) -> None:
    with start(triton=gateway.gateway.settings.triton) as other:
        page = browser.new_page(base_url=other.url)
        page.goto("/")
        expect(page.locator("#search-notice")).to_contain_text("start it with --archive")
        page.close()


def test_a_file_that_has_vanished_leaves_a_word_in_its_place(
    browser: Browser,
    start: Callable[..., Any],
    gateway: HttpServer,
    triton: Client,
    twemoji: dict[str, bytes],
    tmp_path: Path,
) -> None:
    (tmp_path / "cat.png").write_bytes(twemoji["cat"])
    with open_collection(str(tmp_path / "archive"), triton) as collection:
        collection.add([tmp_path / "cat.png"])
    (tmp_path / "cat.png").unlink()
    with start(triton=gateway.gateway.settings.triton, archive=str(tmp_path / "archive")) as other:
        page = browser.new_page(base_url=other.url)
        page.goto("/#search?text=a+cat")
        expect(page.locator(".hit")).to_contain_text("not readable now")
        page.close()


def test_nothing_moves_while_hits_come(page: Page) -> None:
    page.evaluate(
        """() => {
            window.moved = [];
            new PerformanceObserver((list) => moved.push(...list.getEntries()))
              .observe({ type: "layout-shift", buffered: true });
        }"""
    )
    for text in ("a cat", "a citrus fruit", "a rocket"):
        ask(page, text)
    page.get_by_label("Where").fill("colour = red")
    expect(page.get_by_role("alert")).to_be_visible()
    page.wait_for_timeout(200)

    assert page.evaluate("moved.map((shift) => shift.value)") == []


def test_a_telephone_has_room_for_all_of_it(browser: Browser, gateway: HttpServer) -> None:
    page = browser.new_page(base_url=gateway.url, viewport={"width": 375, "height": 667})
    page.goto("/")
    ask(page, "a cat")
    for way in (lambda: None, lambda: page.locator(".hit").first.click()):
        way()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        for button in page.locator("button:visible, dialog a:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 375
    expect(page.get_by_role("button", name="More like this")).to_be_in_viewport()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(
    browser: Browser, gateway: HttpServer, pictures: Path, scheme: Any
) -> None:
    page = browser.new_page(base_url=gateway.url, color_scheme=scheme)
    page.goto("/")
    expect(page.get_by_role("heading", name="Say what you are looking for")).to_be_visible()
    assert violations(page) == {}
    ask(page, "a cat")
    page.get_by_label("Without").fill("dog")
    page.get_by_label("Without").press("Enter")
    page.get_by_label("Where").fill("colour = red")
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == {}
    page.get_by_label("Where").fill("")
    page.locator(".hit").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == {}
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Zero-shot").click()
    page.locator("#zero-shot-file").set_input_files(pictures / "cat.png")
    expect(page.get_by_role("list", name="Probabilities")).to_contain_text("%")
    assert violations(page) == {}
    page.get_by_role("tab", name="Policy").click()
    assert violations(page) == {}
    page.close()
