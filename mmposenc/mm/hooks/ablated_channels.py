"""Which channels an ablation in a config is of."""

from collections.abc import Sequence

from mmposenc.channels.channel_choice import check_channels, random_channels, top_channels
from mmposenc.channels.channel_choice import window as ranks
from mmposenc.layers import split_layer
from mmposenc.ranking import Ranking


class AblatedChannels:
    """The channels that a config asks to switch off, in one of the ways of Fig. 4 (Sec. 4.2.2).

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple. Default: the ranking's.
        channels: The channels themselves.
        ranking: File of a ranking, with `num_channels` or `window`.
        num_channels: N, the best of the ranking.
        window: (start, size), the ranks start to start + size - 1.
        random: (N, seed), N channels drawn at random.

    Attributes:
        layer: Where the channels are.
        ranking: The ranking, None without one.

    Raises:
        TypeError, ValueError: If not exactly one way is given, or it is not as described.
    """

    def __init__(
        self,
        layer: str | None = None,
        channels: Sequence[int] | None = None,
        ranking: str | None = None,
        num_channels: int | None = None,
        window: Sequence[int] | None = None,
        random: Sequence[int] | None = None,
    ) -> None:
        given = dict(channels=channels, num_channels=num_channels, window=window, random=random)
        chosen = [name for name, choice in given.items() if choice is not None]
        if len(chosen) != 1 or (ranking is None) == (chosen[0] in ('num_channels', 'window')):
            got = ' and '.join([*chosen, *(['ranking'] if ranking is not None else [])])
            raise ValueError(
                f'give one of: channels; random=(N, seed); ranking with num_channels=N; ranking with '
                f'window=(start, size). Got {got or "none of them"}'
            )
        for name, pair in (('window', window), ('random', random)):
            if pair is not None and [type(item) for item in pair] != [int, int]:
                raise TypeError(f'{name} must be two integers, got {pair!r}')
        self.ranking = None if ranking is None else Ranking.load(ranking)
        if layer is None and self.ranking is None:
            raise ValueError("layer must be given where no ranking names it, e.g. layer='backbone[-1]'")
        self.layer: str = layer if layer is not None else getattr(self.ranking, 'layer', '')
        split_layer(self.layer)
        self._random = None if random is None else (random[0], random[1])
        self._channels: tuple[int, ...] = ()
        if channels is not None:
            self._channels, self._text = check_channels(channels), 'as listed'
        elif self.ranking is not None and window is not None:
            self._channels = ranks(self.ranking, *window)
            self._text = f'ranks {window[0]} to {sum(window) - 1} of {ranking}'
        elif self.ranking is not None and num_channels is not None:
            self._channels, self._text = top_channels(self.ranking, num_channels), f'the best of {ranking}'
        elif self._random is not None:
            self._text = f'at random, seed {self._random[1]}'

    def __str__(self) -> str:
        """How they were chosen."""
        return self._text

    @property
    def num_total(self) -> int | None:
        """C, the number of channels that these are chosen among, as far as it is known before the layer has run."""
        return None if self.ranking is None else self.ranking.num_channels

    @property
    def at_random(self) -> bool:
        """Whether C is needed to draw them."""
        return self._random is not None

    def pick(self, num_total: int) -> tuple[int, ...]:
        """The channels, of a layer with C = `num_total`."""
        return self._channels if self._random is None else random_channels(num_total, *self._random)
