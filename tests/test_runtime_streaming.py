"""A stream gives the windows that are cut from the recording, for any division into pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.data import alignment, windows
from modelreg.data.recording import Recording, Signal
from modelreg.errors import InputError
from modelreg.records.data import Limits
from modelreg.records.model import Channel, InputSpec
from modelreg.runtime.streaming import ClockJump, Cutter, Gap, Late, Missing, Window

CHANNELS = (Channel(name="a", unit="g"), Channel(name="b", unit="g"))
LIMITS = Limits(max_gap_s=0.5)
RATE_HZ = 10.0


def spec(devices: tuple[str, ...] = ("watch",), timesteps: int = 8, fold: int = 1) -> InputSpec:
    """An input with two channels."""
    return InputSpec(channels=CHANNELS, devices=devices, timesteps=timesteps, rate_hz=RATE_HZ, fold=fold)


def signal(generator: np.random.Generator, samples: int, missing: int = 0) -> np.ndarray:
    """Random values, some of them missing."""
    values = generator.normal(size=(samples, 2)).astype(np.float32)
    if samples:
        values[generator.integers(0, samples, missing), generator.integers(0, 2, missing)] = np.nan
    return values


def offline(signals: dict[str, Signal], hop: int, timesteps: int = 8, fold: int = 1) -> dict[int, np.ndarray]:
    """The windows that data/windows.py cuts from one recording, by their start."""
    first = next(iter(signals.values()))
    recording = Recording("r", "s", "", signals, np.zeros(len(first.values), np.int32))
    aligned = alignment.align(recording, RATE_HZ, LIMITS)
    flat = windows.cut([aligned], classes=("x",), window=timesteps, hop=hop, labels="majority")
    cut = windows.fold(flat, fold)
    return dict(zip(cut.start.tolist(), cut.x, strict=True))


def pushed(cutter: Cutter, pieces) -> tuple[dict[int, np.ndarray], list[object]]:
    """The windows of a stream by their start, and the other events."""
    events = [event for piece in pieces for event in cutter.push(*piece)]
    whole = {event.start: event.x for event in events if isinstance(event, Window)}
    return whole, [event for event in events if not isinstance(event, Window)]


def pieces(generator: np.random.Generator, signals: dict[str, Signal]):
    """The samples of each device in random pieces, ordered by the position of their last sample."""
    cuts = []
    for device, found in signals.items():
        edges = np.sort(generator.integers(0, len(found.values) + 1, 5))
        for values, at in zip(
            np.split(found.values, edges), np.split(np.arange(len(found.values)), edges), strict=True
        ):
            moment = found.time[at] if found.time is not None else None
            cuts.append((at[-1] if len(at) else 0, values, device, moment))
    return [cut[1:] for cut in sorted(cuts, key=lambda cut: cut[0])]


@given(seed=st.integers(0, 2**32), hop=st.integers(1, 12), samples=st.integers(1, 90), missing=st.integers(0, 4))
def test_a_stream_gives_the_windows_of_the_recording(seed, hop, samples, missing) -> None:
    """With missing values, and with windows that overlap or skip samples."""
    generator = np.random.default_rng(seed)
    signals = {"watch": Signal(signal(generator, samples, missing), RATE_HZ)}
    whole, _ = pushed(Cutter(spec(), hop, LIMITS), pieces(generator, signals))

    np.testing.assert_equal(whole, offline(signals, hop))


@given(seed=st.integers(0, 2**32), hop=st.integers(1, 12))
def test_two_devices_give_the_windows_of_the_recording(seed, hop) -> None:
    """One device may be ahead of the other."""
    generator = np.random.default_rng(seed)
    signals = {device: Signal(signal(generator, 60, 1), RATE_HZ) for device in ("watch", "phone")}
    whole, _ = pushed(Cutter(spec(("watch", "phone")), hop, LIMITS), pieces(generator, signals))

    np.testing.assert_equal(whole, offline(signals, hop))


@given(seed=st.integers(0, 2**32), hop=st.integers(1, 12), gaps=st.integers(0, 2))
def test_time_stamps_give_the_windows_of_the_aligned_recording(seed, hop, gaps) -> None:
    """With jitter, drift, different starts, missing values and gaps, as data/alignment.py aligns them."""
    generator = np.random.default_rng(seed)
    signals = {}
    for device in ("watch", "phone"):
        steps = generator.uniform(0.97, 1.03, 60) / RATE_HZ
        steps[generator.integers(1, 60, gaps)] += generator.uniform(0.6, 3)
        signals[device] = Signal(signal(generator, 60, 1), RATE_HZ, np.cumsum(steps))
    whole, _ = pushed(Cutter(spec(("watch", "phone")), hop, LIMITS), pieces(generator, signals))
    expected = offline(signals, hop)

    assert whole.keys() == expected.keys()
    for start, x in whole.items():
        np.testing.assert_allclose(x, expected[start], atol=1e-2)  # a sample within 1e-3 of a step counts as that step


def test_one_device_is_folded_the_same_way_as_offline() -> None:
    """The earlier half of the window is the first row."""
    values = signal(np.random.default_rng(0), 30)
    whole, _ = pushed(Cutter(spec(fold=2), 4, LIMITS), [(values, None, None)])

    np.testing.assert_equal(whole, offline({"watch": Signal(values, RATE_HZ)}, 4, fold=2))


def test_a_window_with_a_missing_value_is_reported() -> None:
    """Inf counts as missing."""
    values = signal(np.random.default_rng(0), 16)
    values[10, 1] = np.inf

    assert [event for event in Cutter(spec(), 8, LIMITS).push(values) if isinstance(event, Missing)] == [Missing(8, 1)]


def test_the_windows_of_a_gap_are_dropped() -> None:
    """A gap of 50 years needs neither memory nor time."""
    cutter = Cutter(spec(), 8, LIMITS)
    time = np.concatenate([np.arange(20), 20 + 16e9 + np.arange(20)]) / RATE_HZ
    whole, others = pushed(cutter, [(signal(np.random.default_rng(0), 40), None, time)])
    gap, *missing = others

    assert (type(gap), sum(event.windows for event in missing), len(whole)) == (Gap, 2_000_000_001, 4)


def test_a_clock_set_back_restarts_the_grid() -> None:
    """The event has the length of the jump."""
    time = np.concatenate([100 + np.arange(12), np.arange(12)]) / RATE_HZ
    whole, others = pushed(Cutter(spec(), 8, LIMITS), [(signal(np.random.default_rng(0), 24), None, time)])

    assert ([(e.device, round(e.seconds, 6)) for e in others if isinstance(e, ClockJump)], list(whole)) == (
        [("watch", -11.1)],
        [0],
    )


def test_late_samples_are_dropped() -> None:
    """A repeated time stamp, or one that is earlier by less than a gap."""
    time = np.array([0.0, 0.1, 0.1, 0.05, 0.2, 0.3])
    _, others = pushed(Cutter(spec(), 8, LIMITS), [(signal(np.random.default_rng(0), 6), None, time)])

    assert others == [Late("watch", 2)]


def test_a_silent_device_does_not_block_the_others() -> None:
    """After the slack, windows are missing; memory stays constant."""
    cutter = Cutter(spec(("watch", "phone")), 8, LIMITS)
    ring = cutter._ring.nbytes
    _, others = pushed(cutter, [(signal(np.random.default_rng(0), 2000), "watch", None)])

    assert (sum(event.windows for event in others), cutter._ring.nbytes) == (242, ring)


def test_a_device_that_never_starts_needs_no_memory() -> None:
    """The number of samples that wait for the start of the grid is bounded."""
    cutter = Cutter(spec(("watch", "phone")), 8, LIMITS)
    pushed(cutter, [(signal(np.random.default_rng(0), 2000), "watch", np.arange(2000) / RATE_HZ)])

    assert len(cutter._clocks["watch"].time) == cutter._capacity


def test_the_last_device_to_start_sets_the_origin() -> None:
    """Windows contain only times of all devices."""
    cutter = Cutter(spec(("watch", "phone")), 8, LIMITS)
    time = np.arange(30) / RATE_HZ
    watch, phone = signal(np.random.default_rng(0), 30), signal(np.random.default_rng(1), 20)
    events = [*cutter.push(watch, "watch", time), *cutter.push(phone, "phone", time[10:])]

    np.testing.assert_allclose(events[0].x[:, 0], watch[10:18].T, atol=1e-6)


def test_the_time_of_a_window_is_that_of_its_last_sample() -> None:
    """On the clock of the devices."""
    time = 1e9 + np.arange(8) / RATE_HZ
    (window,) = Cutter(spec(), 8, LIMITS).push(signal(np.random.default_rng(0), 8), None, time)

    assert window.time == pytest.approx(1e9 + 0.7)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ((np.zeros((3, 3)), "watch", None), ("samples", "stream.samples-shape")),
        ((np.zeros(3), "watch", None), ("samples", "stream.samples-shape")),
        ((np.zeros((3, 2)), None, None), ("device", "stream.device-unknown")),
        ((np.zeros((3, 2)), "collar", None), ("device", "stream.device-unknown")),
        ((np.zeros((3, 2)), "watch", np.zeros(2)), ("time", "stream.time-invalid")),
        ((np.zeros((3, 2)), "watch", np.array([0, 1, np.nan])), ("time", "stream.time-invalid")),
    ],
    ids=["channels", "flat", "unnamed", "unknown", "times", "nan"],
)
def test_invalid_samples_are_refused(arguments, place) -> None:
    """Before any of them is used."""
    with pytest.raises(InputError) as caught:
        list(Cutter(spec(("watch", "phone")), 8, LIMITS).push(*arguments))

    assert places(caught.value.problems) == [place]


def test_samples_with_and_without_time_stamps_cannot_be_mixed() -> None:
    """A stream that starts without them continues without them."""
    cutter = Cutter(spec(), 8, LIMITS)
    list(cutter.push(np.zeros((1, 2))))

    with pytest.raises(InputError) as caught:
        list(cutter.push(np.zeros((1, 2)), None, np.zeros(1)))
    assert places(caught.value.problems) == [("time", "stream.time-mixed")]


def test_a_hop_is_at_least_one() -> None:
    """A hop of 0 is refused."""
    with pytest.raises(InputError) as caught:
        Cutter(spec(), 0, LIMITS)
    assert places(caught.value.problems) == [("hop", "stream.hop-too-small")]
