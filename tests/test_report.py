"""The page about a model: its numbers beside scikit-learn's, what it says, and a real browser."""

import html
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn.metrics
from sklearn.calibration import calibration_curve

import pyfast_nn as fnn
from pyfast_nn.cli import main
from pyfast_nn.report import calibration, findings, mistakes, page, scores

pytestmark = [pytest.mark.once, pytest.mark.alone]

pa = pytest.importorskip("pyarrow")
for package in ("narwhals", "jinja2", "matplotlib"):
    pytest.importorskip(package)

EVIL = "<script>document.title = 'evil'</script>"
LONG = "a_name_without_a_single_blank_that_is_far_longer_than_any_screen_of_a_phone_is_wide"


def table_of(n=300, seed=0):
    """Numbers under names that could break a page, and what follows from them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    names = [EVIL, LONG, "temperature in °C & more", "$x_1$ 你好"]
    return pa.table(dict(zip(names, X.T, strict=True))), X


def labels_of(X, k):
    noise = np.random.default_rng(1).normal(size=len(X))
    places = np.clip(np.floor((X[:, 0] + 0.5 * X[:, 1] + 0.3 * noise + 2) / 4 * k), 0, k - 1)
    return np.array([f"<b>class {i:02}</b>" for i in range(k)])[places.astype(int)]


def found_of(k):
    """What is found of a small model; k: classes, 0: values."""
    table, X = table_of()
    y = labels_of(X, k) if k else 1e4 * (X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=300))
    classes = np.unique(y) if k else None
    schema, numbers = fnn.tabular.model.Schema.learn(table)
    outputs = k if k > 2 else 1
    networks = []
    for seed in range(3):
        network = fnn.Sequential(
            [fnn.Standardize(), fnn.Dense(16), fnn.ReLU(), fnn.Dense(outputs)],
            **{"classes": range(k)} if k else {"standardize_targets": True},
            seed=seed,
        )
        network.fit(
            numbers,
            np.searchsorted(classes, y) if k else y,
            loss="mse" if not k else "cross_entropy" if k > 2 else "binary_cross_entropy",
            optimizer=fnn.optim.Adam(lr=0.01),
            epochs=20 if seed else 1,
            validation_data=(numbers[:60], (np.searchsorted(classes, y) if k else y)[:60]),
            patience=5,
        )
        networks.append(network)
    weights = np.array([0.1, 0.4, 0.5])
    board = [
        {"network": i, "log_loss" if k else "rmse": 0.1 * i, "weight": w, "encoding": "<i>bins</i>"}
        for i, w in enumerate([*weights, 0.0])
    ]
    residuals = None if k else fnn.tabular.intervals.Residuals.of(networks[0].predict(numbers), y)
    model = fnn.tabular.TabularModel(
        schema,
        networks,
        weights,
        classes,
        "log_loss" if k else "rmse",
        fnn.tabular.table.Table(board),
        residuals,
    )
    new, X = table_of(200, seed=5)
    y_new = labels_of(X, k) if k else 1e4 * X[:, 0]
    return findings.find(model, EVIL, new, y_new, np.arange(200) + 1000, y, seed=0), new, y_new


KINDS = {"values": 0, "two classes": 2, "five classes": 5, "many classes": 30}


@pytest.fixture(scope="module")
def all_found():
    return {name: found_of(k) for name, k in KINDS.items()}


@pytest.fixture(params=KINDS)
def found(request, all_found):
    return all_found[request.param]


@pytest.fixture(scope="module")
def all_pages(all_found):
    return {name: render(found) for name, (found, *_) in all_found.items()}


@pytest.fixture
def text(all_pages, request):
    return all_pages[request.node.callspec.params["found"]]


def render(found):
    settings = {"data": "<u>t.csv</u>", "exclude": ("a", "b"), "seed": 0}
    return page.render(
        found, source="<u>t.csv</u>", sizes={"train": 300, "test": 200}, settings=settings
    )


# ---------------------------------------------------------------------- numbers


class TestCalibration:
    def test_bins_as_scikit_learn_has_them(self):
        rng = np.random.default_rng(0)
        p = rng.random(1000)
        true = rng.random(1000) < p**2
        ours = calibration.reliability(p, true)
        observed, predicted = calibration_curve(true, p, n_bins=10, strategy="quantile")
        np.testing.assert_allclose(ours.predicted, predicted, rtol=1e-12)
        np.testing.assert_allclose(ours.observed, observed, rtol=1e-12)
        assert ours.counts.tolist() == [100] * 10
        expected = np.abs(observed - predicted).mean()
        assert ours.error == pytest.approx(expected, rel=1e-12)

    def test_intervals_are_wilsons(self):
        """Beside the roots of (p - o)^2 = z^2 p (1 - p) / n, which define them."""
        came_true = np.arange(50) < 7
        ours = calibration.reliability(np.full(50, 0.2), came_true)
        assert ours.counts.tolist() == [50], "equal probabilities stay together"
        z2, o, n = 1.959963984540054**2, 7 / 50, 50
        low, high = sorted(np.roots([1 + z2 / n, -2 * o - z2 / n, o * o]))
        np.testing.assert_allclose([ours.low[0], ours.high[0]], [low, high], rtol=1e-12)

    def test_coverage(self):
        y = np.arange(10.0)
        quantiles = np.column_stack([np.full(10, -1.0), np.full(10, 4.0), np.full(10, 99.0)])
        assert calibration.coverage(y, quantiles).tolist() == [0, 0.5, 1]


class TestScores:
    def test_of_classes(self):
        rng = np.random.default_rng(0)
        p = rng.dirichlet([1, 1], 100)
        y = np.where(rng.random(100) < p[:, 1], "b", "a")
        ours = scores.scores_of(y, p, np.array(["a", "b"]))
        assert ours["accuracy"] == np.mean((p[:, 1] > 0.5) == (y == "b"))
        assert ours["log_loss"] == pytest.approx(sklearn.metrics.log_loss(y, p), rel=1e-6)
        assert ours["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(y, p[:, 1]), rel=1e-12)

    def test_without_columns(self):
        train, y = np.array([0.0, 2.0, 4.0]), np.array([1.0, 5.0])
        assert scores.without_columns(train, y, None)["mae"] == 2
        train, y = np.array(["a", "a", "b"]), np.array(["a", "b"])
        ours = scores.without_columns(train, y, np.array(["a", "b"]))
        assert ours["accuracy"] == 0.5
        assert ours["log_loss"] == pytest.approx(-np.log([2 / 3, 1 / 3]).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.0, "0"), (1234567.8, "1,234,568"), (0.123456, "0.1235"), (-0.00123456, "-0.001235")],
        *[(1e-7, "1e-07"), (1e12, "1e+12"), (99.999, "100"), (14.0, "14"), (1400.0, "1,400")],
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert findings.number(value) == text


class TestFindings:
    def test_worst_rows(self, found):
        found, table, y = found
        model = found.model
        if model.classes_ is None:
            badness = abs(model.predict(table) - y)
        else:
            p = model.predict_proba(table)
            badness = 1 - p[np.arange(200), np.searchsorted(model.classes_, y)]
        expected = np.argsort(-badness, kind="stable")[:12]
        assert [wrong.row for wrong in found.worst] == (expected + 1000).tolist()
        first = found.worst[0]
        values = [findings.as_text(table[name][int(expected[0])].as_py()) for name in found.shown]
        assert first.values == values and first.true == findings.as_text(y[expected[0]])

    def test_importances(self, found):
        found, _, _ = found
        assert found.importances[0].column == EVIL, "what the target follows from"
        means = [each.mean for each in found.importances]
        assert means == sorted(means, reverse=True) and len(means) == 4

    def test_scores(self, found):
        found, _, y = found
        if found.model.classes_ is None:
            assert found.scores["r2"] == pytest.approx(
                sklearn.metrics.r2_score(y, found.predictions), rel=1e-9
            )
            assert found.coverage.shape == findings.LEVELS.shape and found.reliability is None
        else:
            assert found.scores["accuracy"] == np.mean(found.predictions == y)
            assert found.reliability.counts.sum() == 200 and found.coverage is None


# ---------------------------------------------------------------------- the page


class Page(HTMLParser):
    """What stands in a page: its tags with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


class TestPage:
    def test_all_sections_are_there(self, found, text):
        found, _, _ = found
        parsed = Page(text)
        sections = {attrs["id"] for attrs in parsed.all("section")}
        assert sections == {
            *("scores", "predictions", "calibration", "importances", "worst"),
            *("curves", "leaderboard", "columns", "settings"),
        }
        links = {attrs["href"] for attrs in parsed.all("a")}
        assert links == {f"#{name}" for name in sections}
        pictures = 5 if found.coverage is not None else 3
        assert len(parsed.all("svg")) == len(parsed.all("figure")) == pictures
        assert "3 predict together" in parsed.text and "Of 4 networks" in parsed.text
        assert fnn.__version__ in parsed.text and "a, b" in parsed.text

    def test_text_of_files_is_text(self, found, text):
        found, _, _ = found
        parsed = Page(text)
        assert parsed.all("script") == parsed.all("u") == parsed.all("i") == []
        assert "&lt;script&gt;document" in text and "<b>class" not in text
        assert EVIL in parsed.text

    def test_nothing_is_loaded(self, found, text):
        found, _, _ = found
        parsed = Page(text)
        for tag, attrs in parsed.tags:
            for name in ("src", "href", "xlink:href", "action", "data"):
                value = attrs.get(name, "#")
                assert value.startswith(("#", "data:")), (tag, value)
        policy = [attrs["content"] for attrs in parsed.all("meta") if "http-equiv" in attrs]
        assert policy[0].startswith("default-src 'none'")
        assert not re.search(r"url\((?!#)|@import", text)

    def test_who_does_not_see_it_can_read_it(self, found, text):
        found, _, _ = found
        parsed = Page(text)
        assert parsed.all("html") == [{"lang": "en"}] and len(parsed.all("h1")) == 1
        ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        for _, attrs in parsed.tags:
            assert attrs.get("aria-labelledby", ids[0]) in ids
        assert all(attrs["aria-label"] for attrs in parsed.all("figure"))
        assert all(attrs["scope"] in ("col", "row") for attrs in parsed.all("th"))
        assert len(parsed.all("caption")) == len(parsed.all("table"))
        levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))

    def test_confusion(self, all_found):
        found, _, y = all_found["five classes"]
        text = render(found)
        matrix = sklearn.metrics.confusion_matrix(y, found.predictions, labels=found.model.classes_)
        cells = re.findall(r'<td class="cell[^"]*" style="--share: (\d+)">([\d,]+)</td>', text)
        assert [int(n) for _, n in cells] == matrix.ravel().tolist()
        shares = 100 * matrix / matrix.sum(axis=1, keepdims=True).clip(1)
        np.testing.assert_allclose([int(share) for share, _ in cells], shares.ravel(), atol=0.5)

    def test_of_many_classes_the_most_frequent_mistakes(self, all_found):
        found, _, y = all_found["many classes"]
        text = render(found)
        classes = found.model.classes_
        true, predicted = (np.searchsorted(classes, each) for each in (y, found.predictions))
        (a, b, n), *_ = mistakes.top_confusions(true, predicted, len(classes), 1)
        first, second = html.escape(classes[a]), html.escape(classes[b])
        row = f'<th scope="row">{first}</th><td class="left">{second}</td><td>{n}</td>'
        assert row in text and 'class="cell' not in text

    def test_the_same_findings_make_the_same_page(self, found, text):
        assert render(found[0]) == text

    def test_a_page_is_known_as_ours(self, found, tmp_path):
        (tmp_path / "theirs.html").write_text("<p>mine")
        page.write(
            str(tmp_path / "ours.html"),
            found[0],
            source="t.csv",
            sizes={"train": 300, "test": 200},
            settings={},
        )
        assert page.is_ours(str(tmp_path / "ours.html"))
        assert not page.is_ours(str(tmp_path / "theirs.html"))


# ---------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A folder with the reports of a pack and of one network, and their table."""
    folder = tmp_path_factory.mktemp("reports")
    table, X = table_of(400)
    price = [None if i % 3 == 0 else value for i, value in enumerate(X[:, 0] * 10)]
    table = table.append_column("price", [price])
    table = table.append_column("dear", [np.where(X[:, 0] > 0.5, "yes", "no")])
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table, folder / "t.parquet")
    options = {
        "price": ("--exclude", "dear", "--time-limit", "0.5"),
        "dear": ("--exclude", "price", "--model", "mlp", "--hidden", "8", "--epochs", "3"),
    }
    for target, own in options.items():
        arguments = ("train", folder / "t.parquet", "--target", target, "--quiet", *own)
        to = ("--report", folder / target, "--out", folder / "m")
        assert main([str(argument) for argument in (*arguments, *to)]) == 0
    return folder


class TestCommand:
    @pytest.mark.parametrize("target", ["price", "dear"])
    def test_a_page_is_written(self, target, reported):
        assert [path.name for path in (reported / target).iterdir()] == ["index.html"]
        parsed = Page((reported / target / "index.html").read_text())
        assert f"{target}, predicted from t.parquet" in parsed.text
        trained, tested = (213, 53) if target == "price" else (320, 80)
        assert f"trained on {trained} rows" in parsed.text
        assert f"on {tested} rows that were kept" in parsed.text
        assert ("Confusion" in parsed.text) == (target == "dear")
        assert ("A network was trained" in parsed.text) == (target == "dear")

    def test_the_rows_are_those_of_the_file(self, reported):
        text = (reported / "price" / "index.html").read_text()
        prices = table_of(400)[1][:, 0] * 10
        start = text.index('<section id="worst"')
        row, true = re.search(r'<th scope="row">(\d+)</th><td>([^<]+)</td>', text[start:]).groups()
        assert true == findings.as_text(prices[int(row)])

    def test_a_page_of_ours_is_replaced(self, reported):
        path = reported / "dear" / "index.html"
        before = path.read_text()
        options = ("--exclude", "price", "--model", "mlp", "--hidden", "8", "--epochs", "4")
        arguments = ("train", reported / "t.parquet", "--target", "dear", "--quiet", *options)
        to = ("--report", reported / "dear", "--out", reported / "m")
        assert main([str(argument) for argument in (*arguments, *to)]) == 0
        assert path.read_text() != before


# ---------------------------------------------------------------------- a real browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# The page in a frame as wide as a screen; what it measures there becomes the frame's title.
MEASURE = """
<!DOCTYPE html><html><body style="margin: 0">
<iframe id="frame" style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const wide = [...inner.querySelectorAll("body *")].filter(
    (e) => !e.closest(".scroll, svg") && e.getBoundingClientRect().right > root.clientWidth + 1);
  const small = [...inner.querySelectorAll("figure svg")].filter(
    (e) => e.getBoundingClientRect().width < 250);
  document.title = JSON.stringify({{
    title: inner.title, scroll: root.scrollWidth, client: root.clientWidth,
    height: root.scrollHeight, small: small.length,
    wide: wide.map((e) => e.tagName + " " + e.textContent.slice(0, 40)),
    text: inner.defaultView.getComputedStyle(inner.body).color,
    sheet: inner.defaultView.getComputedStyle(inner.querySelector("section")).backgroundColor,
  }});
}};
</script></body></html>
"""


def browse(text, folder, width, *, dark=False):
    """Open a page in Chromium; return what it measures there, and what the console says."""
    path = folder / "frame.html"
    path.write_text(MEASURE.format(width=width, page=html.escape(text)))
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", f"--user-data-dir={folder / 'profile'}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *("--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout.split("</iframe>")[0])
    title = title or re.search(r"<title>({.*?})</title>", done.stdout)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(title[1])), console


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
class TestBrowser:
    @pytest.mark.parametrize(
        ("width", "kind"),
        [(360, "values"), (360, "two classes"), (360, "many classes"), (1280, "five classes")],
    )
    def test_it_fits_the_screen(self, width, kind, all_pages, tmp_path):
        seen, console = browse(all_pages[kind], tmp_path, width)
        assert console == []
        assert seen["title"].startswith("<script>"), "a name is text"
        assert seen["client"] <= width and seen["scroll"] == seen["client"], seen["wide"]
        assert seen["wide"] == [] and seen["small"] == 0 and seen["height"] > 2000

    def test_light_and_dark(self, all_pages, tmp_path):
        text = all_pages["values"]

        def brightness(colour):
            return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

        for dark in (False, True):
            seen, _ = browse(text, tmp_path, 360, dark=dark)
            difference = brightness(seen["sheet"]) - brightness(seen["text"])
            assert (difference < -150) if dark else (difference > 150)

    def test_what_is_wrong_would_be_seen(self, all_pages, tmp_path):
        text = all_pages["values"]
        wrong = '<p style="width: 900px">wide</p><img src="https://example.org/x.png"></main>'
        seen, console = browse(text.replace("</main>", wrong), tmp_path, 360)
        assert seen["scroll"] > 700 and any(line.startswith("P ") for line in seen["wide"])
        assert "Content Security Policy" in " ".join(console)
