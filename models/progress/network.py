"""The progress network: a ConvLSTM over aligned face crops that skips absent photos.

Axes: B series, T photo, C channel, H row, W column, N present photo of any series.

Source: Shi et al. 2015, arXiv:1506.04214, without peephole connections; layer sizes as in SkinCredible.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.progress.skin_constants import HEAD_GRID, LESION_WINDOWS_PX, NUM_CELLS
from models.progress.skin_features import average_and_max_pool, mean_filter, skin_features

LABELS = ("worsened", "improved")
"""In the order of the output columns."""

NUM_INPUTS = 1 + 2 * len(LESION_WINDOWS_PX) + 1 + len(LESION_WINDOWS_PX)


class ProgressNet(nn.Module):
    """Two masked ConvLSTM layers, batch norm after each, a dense layer, two classes.

    Inputs are the maps of ``skin_features``, a fixed step without weights, and their change since the first
    face of the series. With raw colours the network overfits to the few people of the training set.

    Args:
        input_px: side of the face crops, a multiple of 20.
        filters: channels of the state of each ConvLSTM layer.
        hidden: units of the dense layer.
        dropout: after the dense layer, in training.
    """

    def __init__(
        self,
        *,
        input_px: int = 80,
        filters: tuple[int, int] = (20, 10),
        hidden: int = 32,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if input_px % NUM_CELLS:
            raise ValueError(f"input_px is {input_px}, must be a multiple of {NUM_CELLS}")
        first, second = filters
        self.input_px = input_px
        self.first = MaskedConvLSTM(NUM_INPUTS, first)
        self.first_norm = MaskedBatchNorm(first)
        self.second = MaskedConvLSTM(2 * first, second)
        self.second_norm = MaskedBatchNorm(second)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * second * HEAD_GRID**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(LABELS)),
        )

    def forward(self, photos_BTCHW: Tensor, present_BT: Tensor, present_N: Tensor | None = None) -> Tensor:
        """Return the logits after each photo.

        Args:
            photos_BTCHW: float, normalised, (B, T, 3, input_px, input_px); any T. Absent photos are ignored.
            present_BT: bool, False for a photo without a face and after the end of a series.
            present_N: int64, indices of the true values of ``present_BT.flatten()``. Passing them saves a
                synchronisation in training on a GPU.

        Returns:
            logits_BTC: columns as ``LABELS``. An absent photo repeats the logits before it; before the first
                face they are zero, probability 0.5.
        """
        shape = present_BT.shape
        if self.training and present_N is None:
            present_N = present_BT.flatten().nonzero()[:, 0]
        photos_BTCHW = torch.where(present_BT[:, :, None, None, None], photos_BTCHW, 0)
        cells_BTCHW = _append_change(
            skin_features(photos_BTCHW.flatten(0, 1)).unflatten(0, shape), present_BT
        )
        state_BTCHW = self.first_norm(self.first(cells_BTCHW, present_BT), present_N)
        pooled_NCHW = average_and_max_pool(state_BTCHW.flatten(0, 1), NUM_CELLS // 2)
        state_BTCHW = self.second(pooled_NCHW.unflatten(0, shape), present_BT)
        state_BTCHW = self.second_norm(state_BTCHW, present_N)
        logits_NC = self.head(average_and_max_pool(state_BTCHW.flatten(0, 1), HEAD_GRID))
        return _repeat_where_absent(logits_NC.unflatten(0, shape), present_BT)

    @torch.inference_mode()
    def packed(self, photo_NCHW: Tensor, index: "PackedIndex") -> Tensor:
        """Compute the inference result of ``forward`` for the present photos only.

        Args:
            photo_NCHW: float, normalised, the present photos of all series, one series after the other.
            index: of these photos, on the device of the network.
        """
        if not len(photo_NCHW):
            return photo_NCHW.new_zeros(*index.last_BT.shape, len(LABELS))
        cells_NCHW = skin_features(photo_NCHW)
        blurred = mean_filter(cells_NCHW[:, : 1 + len(LESION_WINDOWS_PX)], 3)
        change = blurred - blurred[index.first_N]
        rows = index.steps_N.split(index.step_sizes)
        state_NCHW = self.first.packed(torch.cat([cells_NCHW, change], dim=1), rows)
        pooled = average_and_max_pool(self.first_norm.norm(state_NCHW), NUM_CELLS // 2)
        state_NCHW = self.second_norm.norm(self.second.packed(pooled, rows))
        logits_NC = self.head(average_and_max_pool(state_NCHW, HEAD_GRID))
        return F.pad(logits_NC, (0, 0, 1, 0))[index.last_BT]


@dataclass(frozen=True, kw_only=True)
class PackedIndex:
    """Positions of the present photos of a batch of series in a packed batch."""

    first_N: Tensor
    """int64, of the first photo of each photo's series."""
    steps_N: Tensor
    """int64, the first photos of all series, then the second ones, and so on; longest series first."""
    last_BT: Tensor
    """int64, 1 + the last present photo up to each element of ``present_BT``; 0 before the first."""
    step_sizes: tuple[int, ...]
    """Number of series with a first photo, a second one, and so on."""

    @classmethod
    def of(cls, present_BT: Tensor) -> "PackedIndex":
        """Build the index from bool ``present_BT`` in host memory, without a GPU synchronisation."""
        count_B = present_BT.sum(1)
        start_B = count_B.cumsum(0) - count_B
        longest_first = count_B.argsort(descending=True)
        sizes = [int((count_B > step).sum()) for step in range(int(count_B.max()) if len(count_B) else 0)]
        rows = [start_B[longest_first[:size]] + step for step, size in enumerate(sizes)]
        num_seen_BT = present_BT.cumsum(1)
        return cls(
            first_N=start_B.repeat_interleave(count_B),
            steps_N=torch.cat(rows) if rows else start_B[:0],
            last_BT=torch.where(num_seen_BT > 0, start_B[:, None] + num_seen_BT, 0),
            step_sizes=tuple(sizes),
        )

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors, which must be on the device of the network."""
        return [self.first_N, self.steps_N, self.last_BT]

    def at(self, tensors: Sequence[Tensor]) -> "PackedIndex":
        """Return a copy with ``tensors``, the same values on another device."""
        first_N, steps_N, last_BT = tensors
        return replace(self, first_N=first_N, steps_N=steps_N, last_BT=last_BT)


class MaskedConvLSTM(nn.Module):
    """A ConvLSTM layer with 3 x 3 kernels that keeps its state at absent photos."""

    def __init__(self, num_inputs: int, num_filters: int) -> None:
        super().__init__()
        self.num_filters = num_filters
        self.input_gates = nn.Conv2d(num_inputs, 4 * num_filters, 3, padding=1)
        self.state_gates = nn.Conv2d(num_filters, 4 * num_filters, 3, padding=1, bias=False)

    def forward(self, input_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
        """Return the hidden state after each photo, (B, T, num_filters, H, W)."""
        num_photos = input_BTCHW.shape[1]
        gates_BTCHW = self.input_gates(input_BTCHW.flatten(0, 1)).unflatten(0, present_BT.shape)
        hidden = gates_BTCHW.new_zeros(gates_BTCHW[:, 0, : self.num_filters].shape)
        cell = hidden
        states: list[Tensor] = []
        for t in range(num_photos):
            gates = gates_BTCHW[:, t]
            if t:
                gates = gates + self.state_gates(hidden)
            next_hidden, next_cell = _step(gates, cell)
            present = present_BT[:, t, None, None, None]
            cell = torch.where(present, next_cell, cell)
            hidden = torch.where(present, next_hidden, hidden)
            states.append(hidden)
        return torch.stack(states, dim=1)

    def packed(self, input_NCHW: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Return the hidden state after each present photo, (N, num_filters, H, W).

        Args:
            rows: for each step the positions in N of its photos, the longest series first.
        """
        gates_NCHW = self.input_gates(input_NCHW)
        state_NCHW = gates_NCHW.new_empty(gates_NCHW[:, : self.num_filters].shape)
        hidden = cell = gates_NCHW.new_zeros(state_NCHW[rows[0]].shape)
        for t, row_B in enumerate(rows):
            gates, cell = gates_NCHW[row_B], cell[: len(row_B)]
            if t:
                gates = gates + self.state_gates(hidden[: len(row_B)])
            hidden, cell = _step(gates, cell)
            state_NCHW[row_B] = hidden
        return state_NCHW


def _step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next hidden state and cell."""
    enter, keep, leave, new = gates.chunk(4, dim=1)
    # + 1: forget-gate bias of Jozefowicz et al. 2015
    next_cell = (keep + 1).sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * next_cell.tanh(), next_cell


class MaskedBatchNorm(nn.Module):
    """Batch norm whose training statistics exclude absent photos."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_channels)

    def forward(self, state_BTCHW: Tensor, present_N: Tensor | None) -> Tensor:
        """Return the normalised state; undefined for absent photos.

        Args:
            state_BTCHW: float.
            present_N: indices of the present photos among all B x T; required in training.
        """
        state_MCHW = state_BTCHW.flatten(0, 1)
        if not self.training:
            return self.norm(state_MCHW).view_as(state_BTCHW)
        assert present_N is not None
        if not len(present_N):
            return state_BTCHW
        normalised = self.norm(state_MCHW[present_N]).to(state_MCHW.dtype)
        return torch.zeros_like(state_MCHW).index_copy(0, present_N, normalised).view_as(state_BTCHW)


def _append_change(cells_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
    """Append the change of redness and mean lesions since the first face: (B, T, NUM_INPUTS, H, W)."""
    blurred = mean_filter(cells_BTCHW[:, :, : 1 + len(LESION_WINDOWS_PX)].flatten(0, 1), 3)
    blurred_BTCHW = blurred.unflatten(0, present_BT.shape)
    first_B = present_BT.int().argmax(dim=1)
    first_face = blurred_BTCHW[torch.arange(len(first_B), device=first_B.device), first_B].unsqueeze(1)
    return torch.cat([cells_BTCHW, blurred_BTCHW - first_face], dim=2)


def _repeat_where_absent(logits_BTC: Tensor, present_BT: Tensor) -> Tensor:
    position_T = torch.arange(present_BT.shape[1], device=present_BT.device)
    last_BT = torch.where(present_BT, position_T, -1).cummax(dim=1).values
    repeated = logits_BTC.gather(1, last_BT.clamp_min(0)[:, :, None].expand_as(logits_BTC))
    return torch.where((last_BT >= 0)[:, :, None], repeated, torch.zeros_like(repeated))
