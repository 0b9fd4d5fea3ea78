"""Training of scales: only the scales change, and an interruption costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from refattn.errors import InvalidValue
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from refattn.learned import checkpoint
from refattn.learned.experiment import Experiment, Setting
from refattn.learned.methods import original
from refattn.learned.text import Windows
from refattn.learned.training import Plan, Trainee
from tests.support.language_models import WINDOW, language, tokens

SCALES = Plan("scales", observed=4, steps=6, batch=2, rate=0.03, seed=0)
LOSS = Plan("lm", observed=4, steps=6, batch=2, rate=0.03, seed=0)
PLANS = {
    "moments+learned": SCALES,
    "static": LOSS,
    "moments": SCALES,
    "original": LOSS._replace(observed=0),
    "original-sealed": LOSS._replace(observed=0),
}
STARTS = [*PLANS.items(), ("original", LOSS), ("original-sealed", LOSS)]


class Killed(Exception):
    """Stands in for an interruption."""


def experiment_of(seed: int = 0, window: int = WINDOW) -> Experiment:
    setting = Setting("tiny", (), window=window, batch=2)
    return Experiment.of(setting, language(seed=seed), Windows(tokens(6, window), tokens(4, window, seed=5)))


def trained(experiment: Experiment, trainees: Sequence[Trainee], folder: Path | None = None, until: int = 99) -> None:
    """Train, with a checkpoint a step, and stop for good after some steps."""

    def stepped(moved: Sequence[Trainee], loss: float) -> None:
        del loss
        for trainee in moved:
            if folder is not None:
                checkpoint.write(checkpoint.path_of(folder, trainee), trainee, experiment.origin)
            if trainee.step == until:
                raise Killed

    experiment.train(trainees, stepped)


def state(trainee: Trainee) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainee.modules.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("name", "plan"), STARTS)
@pytest.mark.parametrize("killed_after", [1, 2, 3, 5])
def test_training_that_was_killed_goes_on_bit_for_bit(name: str, plan: Plan, killed_after: int, tmp_path: Path) -> None:
    whole = experiment_of().trainee(name, 2, plan)
    if killed_after >= whole.total:
        pytest.skip("settled by then")
    trained(experiment_of(), [whole])
    first = experiment_of().trainee(name, 2, plan)
    with pytest.raises(Killed):
        trained(experiment_of(), [first], tmp_path, until=killed_after)
    torch.manual_seed(99)
    resumed, experiment = experiment_of().trainee(name, 2, plan), experiment_of()
    checkpoint.read(checkpoint.path_of(tmp_path, resumed), resumed, experiment.origin, to_resume=True)
    assert resumed.step == killed_after
    trained(experiment, [resumed])
    assert resumed.step == whole.step == whole.total
    assert same(state(resumed), state(whole))
    if resumed.optimizer is not None:
        resumed_state, whole_state = (each.optimizer.state_dict()["state"] for each in (resumed, whole))
        assert all(
            torch.equal(resumed_state[i][key], whole_state[i][key]) for i in whole_state for key in whole_state[i]
        )


def test_trainees_at_different_steps_catch_up(tmp_path: Path) -> None:
    names = ("moments+learned", "moments")
    together = [experiment_of().trainee(name, blocks, SCALES) for name in names for blocks in (2, 3)]
    trained(experiment_of(), together)
    ahead = experiment_of().trainee("moments+learned", 2, SCALES)
    with pytest.raises(Killed):
        trained(experiment_of(), [ahead], tmp_path, until=4)
    behind = experiment_of().trainee("moments+learned", 3, SCALES)
    trained(experiment_of(), [ahead, behind])
    assert same(state(ahead), state(together[0]))
    assert same(state(behind), state(together[1]))


@pytest.mark.parametrize("name", list(PLANS))
def test_only_scales_are_trained(name: str) -> None:
    experiment = experiment_of()
    model = experiment.language.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainee = experiment.trainee(name, 2, PLANS[name])
    start = state(trainee)
    trained(experiment, [trainee])
    assert same(before, model.state_dict())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not same(start, state(trainee))
    assert all(value.isfinite().all() for value in state(trainee).values())


def test_nothing_decays_and_nothing_drops_out() -> None:
    experiment = experiment_of()
    trainee = experiment.trainee("original", 2, PLANS["original"])
    assert trainee.optimizer is not None
    assert [group["weight_decay"] for group in trainee.optimizer.param_groups] == [0.0]
    assert not experiment.language.model.training


def test_training_on_scales_brings_the_model_nearer() -> None:
    experiment = experiment_of()
    plan = SCALES._replace(steps=30)
    start, end = (experiment.trainee("moments+learned", 3, each) for each in (plan._replace(steps=0), plan))
    trained(experiment, [start, end])
    from refattn.learned.evaluation import evaluate

    distances = [
        evaluate(experiment.language.model, each.methods, tokens(6), 2)[0].mean_distance for each in (start, end)
    ]
    assert distances[1] < distances[0]


def test_training_on_the_loss_lowers_it() -> None:
    experiment = experiment_of()
    seen: list[float] = []
    trainee = experiment.trainee("original-sealed", 2, PLANS["original"]._replace(steps=24, batch=6))
    experiment.train([trainee], lambda moved, loss: seen.append(loss))
    assert sum(seen[-4:]) < sum(seen[:4])


@pytest.mark.parametrize("name", ["original", "original-sealed"])
@pytest.mark.parametrize("least", [original.LEAST, 0.0])
def test_a_leak_that_starts_at_next_to_nothing_is_learned_and_one_at_nothing_is_not(
    name: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original, "LEAST", least)
    experiment = experiment_of()
    trainee = experiment.trainee(name, 2, LOSS)
    trained(experiment, [trainee])
    half = WINDOW // 2
    leaks = torch.stack([method.table[0, :half, 1] for method in trainee.methods])
    assert bool((leaks != least).all()) == (least > 0 and name == "original")
    assert (torch.stack([method.table[0, :half, 0] for method in trainee.methods]) != 1.0).all()


def test_every_window_is_drawn_once_a_round() -> None:
    windows = torch.arange(6)[:, None]
    drawn = torch.cat([SCALES.batch_at(step, windows) for step in range(SCALES.observing, SCALES.observing + 6)])
    assert sorted(drawn[:6].flatten().tolist()) == sorted(drawn[6:].flatten().tolist()) == list(range(6))
    observed = torch.cat([SCALES.batch_at(step, windows) for step in range(SCALES.observing)])
    assert observed.flatten().tolist() == [0, 1, 2, 3]


def written(tmp_path: Path, name: str = "moments+learned") -> tuple[Path, Trainee]:
    experiment = experiment_of()
    trainee = experiment.trainee(name, 2, PLANS[name])
    path = checkpoint.path_of(tmp_path, trainee)
    checkpoint.write(path, trainee, experiment.origin)
    return path, trainee


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    experiment, data = experiment_of(), path.read_bytes()

    def refused(trainee: Trainee, origin: checkpoint.Origin, what: str, to_resume: bool = False) -> None:
        before = state(trainee)
        with pytest.raises(InvalidValue, match=f"has {what} .*: expected ") as caught:
            checkpoint.read(path, trainee, origin, to_resume=to_resume)
        assert "\n" not in str(caught.value)
        assert same(before, state(trainee))
        assert path.read_bytes() == data

    origin = experiment.origin
    refused(experiment.trainee("moments", 2, SCALES), origin, "method")
    refused(experiment.trainee("moments+learned", 3, SCALES), origin, "blocks")
    refused(experiment_of(window=WINDOW + 1).trainee("moments+learned", 2, SCALES), origin, "window")
    refused(experiment.trainee("moments+learned", 2, SCALES), experiment_of(seed=1).origin, "model")
    other_text = origin._replace(text="other")
    refused(experiment.trainee("moments+learned", 2, SCALES), other_text, "text", to_resume=True)
    other_plan = SCALES._replace(rate=0.1)
    refused(experiment.trainee("moments+learned", 2, other_plan), origin, "plan", to_resume=True)


def test_a_checkpoint_runs_however_it_was_trained(tmp_path: Path) -> None:
    path, trainee = written(tmp_path)
    experiment = experiment_of()
    ready = experiment.loaded("moments+learned", 2, tmp_path)
    assert path.exists()
    assert all(
        torch.equal(a, b) for a, b in zip(ready.methods[0].parameters(), trainee.methods[0].parameters(), strict=True)
    )


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.99])
def test_a_truncated_checkpoint_is_refused(keep: float, tmp_path: Path) -> None:
    path, trainee = written(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    before = state(trainee)
    with pytest.raises(InvalidValue, match="is truncated or no checkpoint"):
        checkpoint.read(path, trainee, experiment_of().origin, to_resume=True)
    assert same(before, state(trainee))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"static-2\.safetensors' does not exist: expected"):
        experiment_of().loaded("static", 2, tmp_path)


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, trainee = written(tmp_path)
    data = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    trainee.step = 3
    with pytest.raises(InvalidValue, match="cannot be written: No space left on device"):
        checkpoint.write(path, trainee, experiment_of().origin)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "objective", "message"),
    [
        ("exact", "scales", "method 'exact' has nothing to learn"),
        ("original", "scales", "objective is 'scales': expected 'lm' for method 'original'"),
    ],
)
def test_what_cannot_be_trained_is_refused(name: str, objective: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        experiment_of().trainee(name, 2, SCALES._replace(objective=objective))
