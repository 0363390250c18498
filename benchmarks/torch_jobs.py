"""The PyTorch peers of `benchmarks/train.py`: plain loops that do the same work on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Meter


def language_model(meter: Meter, text: Path, vocabulary: int, units: int, lanes: int, length: int) -> None:
    """Embedding, one LSTM layer, output matrix; the state is carried from batch to batch, as ours does."""
    import torch
    from torch import nn

    characters = text.read_text(encoding="utf-8")
    characters = characters[: len(characters) * 9 // 10]
    number = {character: index for index, character in enumerate(sorted(set(characters)))}
    stream = torch.tensor([number[character] for character in characters])
    lane = len(stream) // lanes
    rows = stream[: lanes * lane].view(lanes, lane)
    meter.ready()
    torch.manual_seed(0)
    parts = nn.ModuleList(
        [nn.Embedding(vocabulary, units), nn.LSTM(units, units, batch_first=True), nn.Linear(units, vocabulary)]
    )
    embedding, recurrent, output = parts
    optimizer = torch.optim.Adam(parts.parameters(), lr=1e-3)
    at, state = 0, None
    while True:
        if at + length + 1 > lane:
            at, state = 0, None
        optimizer.zero_grad(set_to_none=True)
        outputs, state = recurrent(embedding(rows[:, at : at + length]), state)
        state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(output(outputs).flatten(0, 1), rows[:, at + 1 : at + length + 1].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        at += length
        meter.tick()


def standardised(series: Path, rows: int) -> np.ndarray:
    """The first `rows` rows of a CSV with dates, [series, rows] float32, mean 0 and deviation 1."""
    values = np.loadtxt(series, delimiter=",", skiprows=1, usecols=range(1, 8), max_rows=rows).T
    return ((values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)).astype(np.float32)


def forecaster(lookback: int, horizon: int, segment: int, units: int, series: int) -> Any:
    """The network of the recipe etth1_96 (`Forecaster`), which is trained without the regression, as a PyTorch
    module.
    """
    import torch
    from torch import nn

    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(segment * 2, units)
            self.recurrent = nn.GRU(units, units, batch_first=True)
            self.position = nn.Embedding(horizon // segment, units - units // 2)
            self.series = nn.Embedding(series, units // 2)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(units, segment)

        def forward(self, values: Any, observed: Any, which: Any) -> Any:
            """Values and marks [B, L], series [B] -> forecast [B, H]."""
            steps = torch.arange(1, lookback + 1, dtype=torch.float32)
            latest = (steps * observed).amax(1, keepdim=True)
            zero = (values * (steps == latest) * observed).sum(1, keepdim=True)
            past = torch.where(observed > 0, values - zero, 0.0)
            x = torch.stack([past, 1 - observed], dim=-1).view(len(past), lookback // segment, segment * 2)
            _, state = self.recurrent(torch.relu(self.embed(x)))
            ahead = horizon // segment
            position = self.position.weight.repeat(len(past), 1)
            asked = torch.cat([position, self.series(which).repeat_interleave(ahead, 0)], dim=-1)
            written, _ = self.recurrent(asked[:, None], state.repeat_interleave(ahead, 1))
            forecast = self.head(self.drop(written[:, 0])).view(len(past), horizon)
            return forecast + zero

    return Forecaster()


def forecast(
    meter: Meter, path: Path, lookback: int, horizon: int, segment: int, units: int, batch: int, rows: int
) -> None:
    """Windows in random order, every one once an epoch, cut out of the series in memory as ours are."""
    import torch
    from torch import nn

    values = torch.from_numpy(standardised(path, rows))
    observed = torch.ones_like(values)
    each = rows - lookback - horizon + 1
    meter.ready()
    torch.manual_seed(0)
    model = forecaster(lookback, horizon, segment, units, len(values))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps = torch.arange(lookback + horizon)
    while True:
        for numbers in torch.randperm(each * len(values)).split(batch)[:-1]:
            which = numbers // each
            places = (numbers % each)[:, None] + steps
            window, seen = values[which[:, None], places], observed[which[:, None], places]
            optimizer.zero_grad(set_to_none=True)
            error = model(window[:, :lookback], seen[:, :lookback], which) - window[:, lookback:]
            weight = seen[:, lookback:]
            loss = (error.abs() * weight).sum() / weight.sum()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            meter.tick()
