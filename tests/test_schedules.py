"""Schedules against torch's at every step, against formulas in long double, and in a fit."""

import copy
import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn.schedules import (
    Constant,
    Cosine,
    CosineWarmRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Sequence,
    Step,
    Warmup,
)

pytestmark = pytest.mark.once

N = 1000


def name_of(value):
    """What a test of it is called."""
    return repr(value)[:60] if isinstance(value, fnn.schedules.Schedule) else ""


def torch_values(make, lr=0.3, closed_form=False):
    """What torch's scheduler makes of the rate, momentum and first beta: each (N,)."""
    torch = pytest.importorskip("torch", reason="compares with torch's schedulers")
    values = []
    for optimizer, key in (
        (torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9), "momentum"),
        (torch.optim.Adam([torch.zeros(1)], lr=lr), "betas"),
    ):
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        (group,) = optimizer.param_groups
        rows = []
        for step in range(N):
            rate = scheduler._get_closed_form_lr()[0] if closed_form else group["lr"]
            rows.append((rate, group[key] if key == "momentum" else group[key][0]))
            optimizer.step()
            if step < N - 1:
                scheduler.step()
        values.append(np.array(rows, np.float64))
    np.testing.assert_array_equal(values[0][:, 0], values[1][:, 0])
    return values[0][:, 0], values[0][:, 1], values[1][:, 1]


def assert_equal_to(schedule, expected):
    """Within 1e-12 of each value; and one step at a time the same bits.

    Near 0 torch's ``1 + cos`` has lost its last digits, recursively as in its closed form: hence
    an absolute part, of the rounding of the largest value.
    """
    values = schedule(np.arange(N))
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15 * expected.max())
    assert values.tolist() == [schedule(step) for step in range(N)]


# The schedule, torch's of the rate 0.3, and whether torch has a closed form.
CASES = [
    (Linear(0.1, 1000, end=0.3), lambda s, o: s.LinearLR(o, 1 / 3, 1.0, 1000), True),
    (Linear(0.3, 700), lambda s, o: s.LinearLR(o, 1.0, 0.0, 700), True),
    (Linear(0.3, 1, end=0.15), lambda s, o: s.LinearLR(o, 1.0, 0.5, 1), True),
    (Step(0.3, 30), lambda s, o: s.StepLR(o, 30), True),
    (Step(0.3, 1, gamma=0.99), lambda s, o: s.StepLR(o, 1, 0.99), True),
    (Step(0.3, 7, gamma=1.01), lambda s, o: s.StepLR(o, 7, 1.01), True),
    (MultiStep(0.3, [1, 30, 31, 800]), lambda s, o: s.MultiStepLR(o, [1, 30, 31, 800]), True),
    (MultiStep(0.3, [500], gamma=0.5), lambda s, o: s.MultiStepLR(o, [500], 0.5), True),
    (MultiStep(0.3, []), lambda s, o: s.MultiStepLR(o, []), True),
    (Exponential(0.3, 0.995), lambda s, o: s.ExponentialLR(o, 0.995), True),
    (Exponential(0.3, 1.001), lambda s, o: s.ExponentialLR(o, 1.001), True),
    (Polynomial(0.3, 1000, power=0.9), lambda s, o: s.PolynomialLR(o, 1000, 0.9), True),
    (Polynomial(0.3, 600, power=3), lambda s, o: s.PolynomialLR(o, 600, 3.0), True),
    (Cosine(0.3, 1000), lambda s, o: s.CosineAnnealingLR(o, 1000), True),
    (Cosine(0.3, 999, end=0.02), lambda s, o: s.CosineAnnealingLR(o, 999, 0.02), True),
    (Cosine(0.3, 1500, end=0.4), lambda s, o: s.CosineAnnealingLR(o, 1500, 0.4), True),
    (CosineWarmRestarts(0.3, 70), lambda s, o: s.CosineAnnealingWarmRestarts(o, 70), False),
    (
        CosineWarmRestarts(0.3, 10, multiplier=2, end=0.01),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, 0.01),
        False,
    ),
    (
        CosineWarmRestarts(0.3, 1, multiplier=3),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 3),
        False,
    ),
    (
        Sequence([0.15, 0.3], [400]),
        lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=400),
        True,
    ),
    (
        Warmup(Cosine(0.3, 900), 100, start=0.03),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, 1.0, 100), s.CosineAnnealingLR(o, 900)], [100]
        ),
        False,
    ),
    (
        Warmup(MultiStep(0.3, [200, 500], gamma=0.5), 1, start=0.003),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.01, 1.0, 1), s.MultiStepLR(o, [200, 500], 0.5)], [1]
        ),
        False,
    ),
    (
        Warmup(CosineWarmRestarts(0.3, 100, multiplier=2), 50, start=0.03),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, 1.0, 50), s.CosineAnnealingWarmRestarts(o, 100, 2)], [50]
        ),
        False,
    ),
    (
        Sequence(
            [Step(0.3, 50), Exponential(0.3, 0.99), 0.3, Polynomial(0.3, 90, power=2)],
            [120, 400, 850],
        ),
        lambda s, o: s.SequentialLR(
            o,
            [
                s.StepLR(o, 50),
                s.ExponentialLR(o, 0.99),
                s.ConstantLR(o, 1.0, 1),
                s.PolynomialLR(o, 90, 2.0),
            ],
            [120, 400, 850],
        ),
        False,
    ),
]


class TestAgainstTorch:
    @pytest.mark.parametrize(("ours", "theirs", "_closed"), CASES, ids=name_of)
    def test_every_step(self, ours, theirs, _closed):
        assert_equal_to(ours, torch_values(theirs)[0])

    @pytest.mark.parametrize(
        ("ours", "theirs"), [case[:2] for case in CASES if case[2]], ids=name_of
    )
    def test_closed_form(self, ours, theirs):
        assert_equal_to(ours, torch_values(theirs, closed_form=True)[0])

    @pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
    @pytest.mark.parametrize(("up", "down"), [(50, None), (30, 85), (1, 1), (700, 600), (7, 3)])
    def test_cyclic(self, mode, up, down):
        options = {"step_size_up": up, "step_size_down": down, "mode": mode, "gamma": 0.998}
        rate, momentum, beta = torch_values(
            lambda s, o: s.CyclicLR(o, 0.02, 0.3, base_momentum=0.8, max_momentum=0.93, **options)
        )
        assert_equal_to(Cyclic(0.02, 0.3, **options), rate)
        assert_equal_to(Cyclic(0.93, 0.8, **options), momentum)
        assert_equal_to(Cyclic(0.93, 0.8, **options), beta)

    @pytest.mark.parametrize("strategy", ["cos", "linear"])
    @pytest.mark.parametrize("three_phase", [False, True])
    @pytest.mark.parametrize(
        ("pct_start", "steps"), [(0.3, 1000), (0.4567, 1000), (0.5, 1001), (0.0004, 1000)]
    )
    def test_one_cycle(self, strategy, three_phase, pct_start, steps):
        options = {
            "pct_start": pct_start,
            "anneal_strategy": strategy,
            "three_phase": three_phase,
        }
        rate, momentum, beta = torch_values(
            lambda s, o: s.OneCycleLR(o, 0.3, total_steps=steps, **options)
        )
        ours = OneCycle(0.3, steps, **options)
        assert_equal_to(ours, rate)
        assert_equal_to(ours.momentum(), momentum)
        assert_equal_to(ours.momentum(), beta)

    def test_one_cycle_between_values_of_ones_own(self):
        rate, momentum, _ = torch_values(
            lambda s, o: s.OneCycleLR(
                o,
                0.3,
                total_steps=N,
                div_factor=3,
                final_div_factor=5,
                base_momentum=0.5,
                max_momentum=0.7,
            )
        )
        ours = OneCycle(0.3, N, start=0.1, end=0.02)
        assert_equal_to(ours, rate)
        assert_equal_to(ours.momentum(high=0.7, low=0.5), momentum)

    def test_in_training(self):
        """The same parameters as torch's, trained with its scheduler: rate and momentum move."""
        torch = pytest.importorskip("torch", reason="compares with torch's schedulers")
        X = np.random.default_rng(0).standard_normal((40, 3))
        y = X @ [1.0, -2.0, 0.5]
        model = fnn.Sequential([fnn.Dense(1)], dtype="float64").build(3)
        weight, bias = (torch.tensor(p.copy()) for p in model.named_parameters().values())
        weight.requires_grad_(), bias.requires_grad_()
        optimizer = torch.optim.SGD([weight, bias], lr=1.0, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=60)
        for step in range(60):
            rows = slice(10 * (step % 4), 10 * (step % 4) + 10)
            out = torch.tensor(X[rows]) @ weight + bias
            optimizer.zero_grad()
            torch.mean((out[:, 0] - torch.tensor(y[rows])) ** 2).backward()
            optimizer.step()
            if step < 59:
                scheduler.step()
        lr = OneCycle(0.1, 60)
        sgd = fnn.optim.SGD(lr=lr, momentum=lr.momentum())
        model.fit(X, y, loss="mse", optimizer=sgd, epochs=15, batch_size=10, shuffle=False)
        expected = np.append(weight.detach().numpy().ravel(), bias.detach().numpy())
        np.testing.assert_allclose(model.parameters, expected, rtol=1e-12)


class TestFormulas:
    def test_inverse_sqrt(self):
        """Vaswani et al. (2017), equation (3), with d_model = 512 and 400 steps of warm-up."""
        n = np.arange(1, N + 1, dtype=np.longdouble)
        expected = 512**-0.5 * np.minimum(n**-0.5, n * 400**-1.5)
        assert_equal_to(InverseSqrt((512 * 400) ** -0.5, 400), expected.astype(np.float64))
        assert InverseSqrt(0.3, 1)(99) == pytest.approx(0.03, rel=1e-15)

    def test_cosine_to_its_last_digits(self):
        """Relative to each value, where 1 + cos loses ten of sixteen digits."""
        left = np.arange(N, 0, -1, dtype=np.longdouble) / N
        pi = np.longdouble("3.14159265358979323846264338327950288")
        expected = np.longdouble(0.3) * np.sin(pi / 2 * left) ** 2
        np.testing.assert_allclose(Cosine(0.3, N)(np.arange(N)), expected, rtol=1e-14)

    def test_constant(self):
        assert_equal_to(Constant(0.3), np.full(N, 0.3))

    def test_polynomial_to_an_end(self):
        expected = 0.1 + 0.2 * (1 - np.minimum(np.arange(N), 500) / 500) ** 1.5
        assert_equal_to(Polynomial(0.3, 500, power=1.5, end=0.1), expected)

    def test_warmup_from_nothing_to_a_number(self):
        assert_equal_to(Warmup(0.3, 40), 0.3 * np.minimum(np.arange(N) / 40, 1))

    def test_warmup_of_a_function(self):
        n = np.arange(N)
        expected = np.where(n < 10, n / 10, 1 / (1 + np.maximum(n - 10, 0)))
        assert_equal_to(Warmup(lambda step: 1 / (1 + step), 10), expected)

    def test_sequences_within_sequences(self):
        inner = Warmup(Linear(0.3, 100), 20)
        expected = np.concatenate([np.full(30, 0.1), inner(np.arange(N - 30))])
        assert_equal_to(Sequence([0.1, inner], [30]), expected)

    def test_the_ends_are_exact(self):
        for schedule in (
            Linear(0.3, 7, end=0.1),
            Polynomial(0.3, 7, power=0.9, end=0.1),
            Cosine(0.3, 7, end=0.1),
            OneCycle(0.2, 8, start=0.3, end=0.1),
        ):
            assert schedule(0) == 0.3
            assert schedule([7, 8, 9, 10**12]).tolist() == [0.1] * 4
        assert OneCycle(0.7, 1000)(299) == 0.7
        assert Cyclic(0.1, 0.7, step_size_up=9)([0, 9, 18]).tolist() == [0.1, 0.7, 0.1]

    def test_one_cycle_of_few_steps(self):
        """torch divides by zero where a phase has no step."""
        assert OneCycle(0.3, 10, pct_start=0.1)([0, 9]).tolist() == [0.3, 0.3 / 25 / 1e4]
        assert OneCycle(0.3, 1)(0) == 0.3 / 25 / 1e4

    @pytest.mark.parametrize("multiplier", [1, 2, 5])
    def test_restarts_far_away(self, multiplier):
        """The cycles are found in whole numbers: no logarithm is a little off."""
        first, length = 0, 3
        schedule = CosineWarmRestarts(0.3, 3, multiplier=multiplier, end=0.1)
        while first < 10**15:
            assert schedule(first) == 0.3
            if first:
                assert schedule(first - 1) < 0.3
            cycles = 1 if multiplier > 1 else 10**13 + 7
            first, length = first + cycles * length, length * multiplier


class TestObject:
    SCHEDULES = (
        *(case[0] for case in CASES),
        Constant(0.1),
        InverseSqrt(0.1, 4),
        Cyclic(0.1, 0.3, step_size_up=3, mode="triangular2"),
        OneCycle(0.3, 100, three_phase=True),
    )

    @pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
    def test_copies(self, schedule):
        again = eval(repr(schedule), vars(fnn.schedules))
        for other in (copy.copy(schedule), copy.deepcopy(schedule), again):
            assert other == schedule and repr(other) == repr(schedule)
        other = pickle.loads(pickle.dumps(schedule))
        assert other == schedule and hash(other) == hash(schedule)
        np.testing.assert_array_equal(other(range(50)), schedule(range(50)))

    def test_repr(self):
        assert repr(Warmup(Cosine(0.1, 900, end=0.01), 100)) == (
            "Warmup(Cosine(0.1, 900, end=0.01), 100)"
        )
        assert (
            repr(Sequence([1, Step(1, 30)], [5]))
            == "Sequence((Constant(1.0), Step(1.0, 30)), (5,))"
        )
        assert repr(fnn.optim.SGD(lr=Linear(0.1, 5))).startswith("SGD(lr=Linear(0.1, 5), ")

    def test_different_ones_differ(self):
        assert Cosine(0.1, 10) != Cosine(0.1, 11)
        assert Cosine(0.1, 10) != Linear(0.1, 10)
        assert Sequence([0.1, 0.2], [5]) != Sequence([0.1, 0.2], [6])

    def test_settings_are_attributes_that_do_not_change(self):
        schedule = Cosine(1, 10)
        assert (schedule.start, schedule.steps, schedule.end) == (1.0, 10, 0.0)
        with pytest.raises(AttributeError, match=r"steps: .* make a new one"):
            schedule.steps = 5
        assert schedule == Cosine(1, 10)

    @pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
    def test_forms_of_steps(self, schedule):
        expected = schedule(np.arange(12))
        assert expected.dtype == np.float64 and expected.shape == (12,)
        for step in (7, np.int64(7), np.uint8(7), np.array(7)):
            assert type(schedule(step)) is float and schedule(step) == expected[7]
        np.testing.assert_array_equal(schedule(range(12)), expected)
        np.testing.assert_array_equal(schedule(np.arange(12, dtype=np.uint8)), expected)
        np.testing.assert_array_equal(
            schedule(np.arange(12)[::-1].reshape(3, 4)), expected[::-1].reshape(3, 4)
        )
        assert schedule(np.arange(0)).shape == (0,)

    def test_steps_are_left_alone(self):
        steps = np.arange(20)
        for schedule in self.SCHEDULES:
            schedule(steps)
        np.testing.assert_array_equal(steps, np.arange(20))

    @pytest.mark.parametrize(
        ("step", "error"), [(0.5, TypeError), (True, TypeError), ("1", TypeError), (-1, ValueError)]
    )
    def test_impossible_steps(self, step, error):
        for form in (step, [step]):
            with pytest.raises(error, match="step: expected"):
                Constant(0.1)(form)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Constant(-0.1), ValueError, "value: expected"),
        (lambda: Constant("0.1"), TypeError, "value: expected"),
        (lambda: Linear(float("nan"), 10), ValueError, "start: expected"),
        (lambda: Linear(0.1, 0), ValueError, "steps: expected"),
        (lambda: Linear(0.1, 10.5), TypeError, "steps: expected"),
        (lambda: Linear(0.1, 10, end=-1), ValueError, "end: expected"),
        (lambda: Step(0.1, 0), ValueError, "step_size: expected"),
        (lambda: Step(0.1, 10, gamma=-1), ValueError, "gamma: expected"),
        (lambda: MultiStep(0.1, 10), TypeError, "milestones: expected a list"),
        (lambda: MultiStep(0.1, [0]), ValueError, r"milestones\[0\]: expected"),
        (lambda: MultiStep(0.1, [5, 5]), ValueError, "milestones: expected increasing"),
        (lambda: MultiStep(0.1, [5, 1.5]), TypeError, r"milestones\[1\]: expected"),
        (lambda: Exponential(0.1, float("inf")), ValueError, "gamma: expected"),
        (lambda: Polynomial(0.1, 10, power=0), ValueError, "power: expected"),
        (lambda: InverseSqrt(0.1, 0), ValueError, "warmup_steps: expected"),
        (lambda: InverseSqrt(-1, 1), ValueError, "peak: expected"),
        (lambda: CosineWarmRestarts(0.1, 5, multiplier=1.5), TypeError, "multiplier: expected"),
        (lambda: Cyclic(0.1, 0.2, step_size_up=0), ValueError, "step_size_up: expected"),
        (lambda: Cyclic(0.1, 0.2, step_size_down=0), ValueError, "step_size_down: expected"),
        (lambda: Cyclic(0.1, 0.2, mode="square"), ValueError, "mode: expected"),
        (lambda: OneCycle("0.1", 10), TypeError, "peak: expected"),
        (lambda: OneCycle(0.1, 10, start=-1), ValueError, "start: expected"),
        (lambda: OneCycle(0.1, 10, pct_start=0), ValueError, "pct_start: expected"),
        (lambda: OneCycle(0.1, 10, pct_start=1), ValueError, "pct_start: expected"),
        (lambda: OneCycle(0.1, 10, anneal_strategy="cosine"), ValueError, "anneal_strategy"),
        (lambda: OneCycle(0.1, 10, three_phase=1), TypeError, "three_phase: expected"),
        (
            lambda: OneCycle(0.1, 10, pct_start=0.6, three_phase=True),
            ValueError,
            "pct_start: expected at most 0.5",
        ),
        (lambda: OneCycle(0.1, 10).momentum(high="a lot"), TypeError, "high: expected"),
        (lambda: OneCycle(0.1, 10).momentum(low=-1), ValueError, "low: expected"),
        (lambda: Warmup("cosine", 10), TypeError, "schedule: expected"),
        (lambda: Warmup(Cosine, 10), TypeError, "schedule: .* with parentheses"),
        (lambda: Warmup(-0.1, 10), ValueError, "schedule: expected"),
        (lambda: Warmup(0.1, 0), ValueError, "steps: expected"),
        (lambda: Sequence(0.1, []), TypeError, "schedules: expected a list"),
        (lambda: Sequence([], []), ValueError, "schedules: expected at least one"),
        (lambda: Sequence([0.1, None], [5]), TypeError, r"schedules\[1\]: expected"),
        (lambda: Sequence([0.1, 0.2], []), ValueError, "milestones: expected 1, .* got 0"),
        (lambda: Sequence([0.1, 0.2], [3, 4]), ValueError, "milestones: expected 1, .* got 2"),
    ],
)
def test_impossible(make, error, match):
    with pytest.raises(error, match=match):
        make()


# ----------------------------------------------------------------------- in a fit


@pytest.fixture
def blobs(rng):
    return rng.standard_normal((100, 4)), rng.integers(0, 3, 100)


def make_model():
    return fnn.Sequential([fnn.Dense(3)], dtype="float64", seed=0)


def test_on_arrays_of_ones_own():
    """An optimizer of arrays asks for one step at a time."""
    p, q, rows = np.ones(3), np.ones(3), np.random.default_rng(0).standard_normal((20, 3))
    lr = Warmup(OneCycle(0.1, 15), 5)
    momentum = OneCycle(0.1, 20).momentum()
    scheduled, by_hand = fnn.optim.SGD(p, lr=lr, momentum=momentum), fnn.optim.SGD(q, momentum=0.9)
    for step, g in enumerate(rows):
        by_hand.lr, by_hand.momentum = lr(step), momentum(step)
        by_hand.step(g)
        scheduled.step(g)
        np.testing.assert_array_equal(p, q)


class TestFit:
    def test_an_epoch_is_one_call(self, blobs):
        calls = []

        class Spy(Cosine):
            def __call__(self, step):
                calls.append(step)
                return super().__call__(step)

        sgd = fnn.optim.SGD(lr=Spy(0.1, 8))
        history = make_model().fit(
            *blobs, loss="cross_entropy", optimizer=sgd, epochs=2, batch_size=25
        )
        np.testing.assert_array_equal(calls, [[0, 1, 2, 3], [4, 5, 6, 7]])
        np.testing.assert_allclose(history["lr"], Cosine(0.1, 8)([3, 7]), rtol=0)

    def test_as_momentum_and_betas(self, blobs):
        """The same as an array of the values."""
        lr = OneCycle(0.1, 8)
        optimizers = [
            (fnn.optim.SGD(lr=lr, momentum=lr.momentum()), fnn.optim.SGD(lr=0.1, momentum=0.9)),
            (
                fnn.optim.Adam(lr=lr, betas=(lr.momentum(), Linear(0.99, 8, end=0.9))),
                fnn.optim.Adam(),
            ),
        ]
        for ours, other in optimizers:
            other.lr = lr(range(8))
            if isinstance(other, fnn.optim.SGD):
                other.momentum = lr.momentum()(range(8))
            else:
                other.betas = tuple(beta(range(8)) for beta in ours.betas)
            models = make_model(), make_model()
            for model, optimizer in zip(models, (ours, other), strict=True):
                model.fit(
                    *blobs, loss="cross_entropy", optimizer=optimizer, epochs=2, batch_size=25
                )
            np.testing.assert_array_equal(models[0].parameters, models[1].parameters)

    def test_copies_of_an_optimizer_have_it(self, blobs):
        adam = fnn.optim.Adam(lr=Warmup(Cosine(0.1, 8), 2))
        for other in (copy.deepcopy(adam), pickle.loads(pickle.dumps(adam))):
            assert other.lr == adam.lr and repr(other) == repr(adam)

    def test_a_momentum_of_one_is_refused_where_it_was(self, blobs):
        adam = fnn.optim.Adam(betas=(Linear(0.9, 4, end=1.0), 0.999))
        with pytest.raises(ValueError, match=r"betas\[0\]: .* got 1.0 at step 4"):
            make_model().fit(*blobs, loss="cross_entropy", optimizer=adam, batch_size=10)


# ----------------------------------------------------------------------- reduce on plateau


def torch_plateau(values, monitor_is, lr, **options):
    torch = pytest.importorskip("torch", reason="compares with torch's scheduler")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=monitor_is, eps=0, **options
    )
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


class TestReduceLROnPlateau:
    @pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_accuracy", "max")])
    @pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
    @pytest.mark.parametrize("cooldown", [0, 3])
    @pytest.mark.parametrize(("patience", "threshold"), [(0, 1e-2), (2, 1e-4), (4, 0.0)])
    @pytest.mark.parametrize("min_lr", [0.0, 1e-3])
    def test_against_torch(
        self, monitor, mode, threshold_mode, cooldown, patience, threshold, min_lr
    ):
        rng = np.random.default_rng(patience)
        values = 3 * np.exp(-np.arange(N) / 100) + 0.05 * rng.standard_normal(N)
        values = values if mode == "min" else 4 - values
        values[[0, 10, 11, 500]] = np.nan, np.inf, {"min": -1.0, "max": 5.0}[mode], np.nan
        options = {
            "factor": 0.9,
            "patience": patience,
            "threshold": threshold,
            "threshold_mode": threshold_mode,
            "cooldown": cooldown,
            "min_lr": min_lr,
        }
        if mode == "max":
            values[10] = 0.0  # nothing would be better than infinity
        sgd = fnn.optim.SGD(lr=0.5)
        plateau = fnn.ReduceLROnPlateau(sgd, monitor=monitor, **options)
        rates = []
        for value in values:
            plateau.step(value)
            rates.append(sgd.lr)
        assert rates == torch_plateau(values, mode, 0.5, **options)
        assert len(set(rates)) > 5

    @pytest.mark.parametrize(("monitor", "sign"), [("val_loss", -1), ("val_r2", 1)])
    @pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
    @pytest.mark.parametrize("threshold", [0.0, 1e-4, 0.1])
    def test_negative_values(self, monitor, sign, threshold_mode, threshold):
        """A value is better if it is so by the threshold, on whichever side of 0."""
        rng = np.random.default_rng(3)
        still, worse = np.full(50, -100.0), -100 - sign * np.geomspace(1e-6, 50, 50)
        better = -100 + sign * 0.1 * np.arange(50)
        through_zero = sign * np.linspace(-3, 3, 300) + 0.1 * rng.standard_normal(300)
        for values in (
            still,
            worse,
            better,
            through_zero,
            np.zeros(50),
            np.full(50, sign * np.inf),
        ):
            sgd = fnn.optim.SGD(lr=1.0)
            plateau = fnn.ReduceLROnPlateau(
                sgd,
                monitor=monitor,
                factor=0.5,
                patience=3,
                threshold=threshold,
                threshold_mode=threshold_mode,
            )
            lr, best, bad = 1.0, None, 0
            for value in values:
                plateau.step(value)
                with np.errstate(invalid="ignore"):
                    margin = threshold * (abs(best or 0) if threshold_mode == "rel" else 1)
                    is_better = best is None or sign * (value - best) > margin
                best, bad = (value, 0) if is_better else (best, bad + 1)
                if bad > 3:
                    lr, bad = lr / 2, 0
                assert sgd.lr == lr
            if values is better:
                assert lr == 1 or threshold == 0.1
            elif values is not through_zero:
                assert lr < 1

    def test_a_rate_below_the_least_stays(self):
        sgd = fnn.optim.SGD(lr=0.01)
        plateau = fnn.ReduceLROnPlateau(sgd, patience=0, min_lr=0.1)
        for _ in range(3):
            plateau.step(1.0)
        assert sgd.lr == 0.01

    def test_groups(self):
        """Rates of a group's own fall, too, and groups without go on to follow the optimizer's."""
        a, b, c = np.ones((3, 1))
        sgd = fnn.optim.SGD(
            [{"params": a}, {"params": b, "lr": 0.1}, {"params": c, "lr": 2e-3}], lr=0.1
        )
        plateau = fnn.ReduceLROnPlateau(sgd, patience=1, min_lr=1e-3)
        for _ in range(3):
            plateau.step(1.0)
        rates = [group["lr"] for group in sgd.param_groups]
        np.testing.assert_allclose([sgd.lr, *rates], [0.01, 0.01, 0.01, 1e-3], rtol=1e-15)
        sgd.step(list(np.ones((3, 1))))
        np.testing.assert_allclose(np.concatenate([a, b, c]), [0.99, 0.99, 0.999], rtol=1e-15)
        sgd.lr = 0.5
        assert sgd.param_groups[0]["lr"] == 0.5 and sgd.param_groups[1]["lr"] == rates[1]

    def test_in_a_fit(self, blobs):
        sgd = fnn.optim.SGD(lr=0.1)
        plateau = fnn.ReduceLROnPlateau(sgd, factor=0.5, patience=1, threshold=0.05)
        history = make_model().fit(
            *blobs,
            loss="cross_entropy",
            optimizer=sgd,
            epochs=12,
            validation_split=0.3,
            callbacks=[plateau],
        )
        expected = torch_plateau(
            history["val_loss"], "min", 0.1, factor=0.5, patience=1, threshold=0.05
        )
        assert history["lr"] == [0.1, *expected[:-1]]
        assert len(set(history["lr"])) > 2

    def test_it_watches_what_other_callbacks_tell(self, blobs):
        class Tell(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                record["balanced_score"] = 0.5

        sgd = fnn.optim.SGD(lr=0.1)
        plateau = fnn.ReduceLROnPlateau(sgd, monitor="balanced_score", patience=1)
        options = {"loss": "cross_entropy", "optimizer": sgd, "callbacks": [Tell(), plateau]}
        make_model().fit(*blobs, epochs=3, **options)
        assert sgd.lr == pytest.approx(0.01)

    def test_copies_go_on_alike(self):
        sgd = fnn.optim.SGD(lr=0.1)
        plateau = fnn.ReduceLROnPlateau(sgd, patience=1)
        for value in (1.0, 1.0):
            plateau.step(value)
        for twin, other in (
            copy.deepcopy((sgd, plateau)),
            pickle.loads(pickle.dumps((sgd, plateau))),
        ):
            other.step(1.0)
            assert twin.lr == pytest.approx(0.01)
        assert sgd.lr == 0.1

    @pytest.mark.parametrize(
        ("options", "error", "match"),
        [
            ({"factor": 1.0}, ValueError, "factor: expected"),
            ({"factor": -0.1}, ValueError, "factor: expected"),
            ({"patience": -1}, ValueError, "patience: expected"),
            ({"patience": 1.5}, TypeError, "patience: expected"),
            ({"threshold": -1}, ValueError, "threshold: expected"),
            ({"threshold_mode": "ratio"}, ValueError, "threshold_mode: expected"),
            ({"cooldown": -1}, ValueError, "cooldown: expected"),
            ({"min_lr": -1}, ValueError, "min_lr: expected"),
            ({"monitor": "norm"}, ValueError, "monitor: expected a name that tells"),
            ({"monitor": None}, TypeError, "monitor: expected"),
        ],
    )
    def test_impossible(self, options, error, match):
        with pytest.raises(error, match=match):
            fnn.ReduceLROnPlateau(fnn.optim.SGD(), **options)

    @pytest.mark.parametrize("optimizer", [None, 0.1, fnn.optim.SGD])
    def test_something_else_as_optimizer(self, optimizer):
        with pytest.raises(TypeError, match="optimizer: expected"):
            fnn.ReduceLROnPlateau(optimizer)

    @pytest.mark.parametrize("lr", [Cosine(0.1, 10), [0.1, 0.2], lambda step: 0.1])
    def test_a_rate_that_changes_by_itself(self, lr):
        groups = [{"params": np.ones(3), "lr": lr}]
        for bad in (fnn.optim.SGD(lr=lr), fnn.optim.SGD(groups, lr=0.1)):
            with pytest.raises(TypeError, match="optimizer: expected one whose lr is a number"):
                fnn.ReduceLROnPlateau(bad)
        sgd = fnn.optim.SGD()
        plateau = fnn.ReduceLROnPlateau(sgd, patience=0)
        sgd.lr = lr
        plateau.step(1.0)
        with pytest.raises(TypeError, match="optimizer: expected one whose lr is a number"):
            plateau.step(1.0)

    def test_another_optimizer_than_the_fit_s(self, blobs):
        plateau = fnn.ReduceLROnPlateau(fnn.optim.SGD(), monitor="loss")
        model = make_model()
        with pytest.raises(ValueError, match=r"optimizer: expected that of this fit"):
            model.fit(*blobs, loss="cross_entropy", optimizer=fnn.optim.SGD(), callbacks=[plateau])
        assert model.epochs_trained == 0

    def test_no_such_quantity(self, blobs):
        sgd = fnn.optim.SGD()
        options = {"optimizer": sgd, "callbacks": [fnn.ReduceLROnPlateau(sgd)]}
        with pytest.raises(ValueError, match=r"monitor: expected one of loss, .* got 'val_loss'"):
            make_model().fit(*blobs, loss="cross_entropy", **options)
