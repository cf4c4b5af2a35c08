"""The presets: which network, for how long, with which learning rate."""

from dataclasses import dataclass, replace

from tinycnn.training.augment import Deformation

FEW = 20_000  # training images; with fewer, as in the bundled sample, epochs are short


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    network: str  # a key of `tinycnn.models.NETWORKS`
    epochs: int  # how often every training image is seen
    epochs_of_few: int  # the same, with fewer than FEW images
    learning_rate: float = 8e-3  # the highest of the run
    batch_size: int = 64
    schedule: str = "one_cycle"  # or "cosine"
    weight_decay: float = 0.0  # of Adam, decoupled
    label_smoothing: float = 0.0
    deformation: Deformation = Deformation()  # of every image, anew each epoch
    average_decay: float = 0.0  # of the moving average of the weights; 0 for none
    # Digits written, and numbers composed and cut, by code, as shares of the training
    # images, which come twice beside composed ones. See `tinycnn.reading.practice`.
    written: float = 0.0
    composed: float = 0.0
    views: int = 1  # or 5: of `tinycnn.models.predict`, in validation and tests

    def epochs_for(self, train_images: int) -> int:
        """Return the number of epochs for a training set of this size."""
        return self.epochs if train_images >= FEW else self.epochs_of_few


# Strong enough that no epoch repeats the handwriting of another.
STRONG = Deformation(rotation=10, scale=0.1, shear=0.1, shift=1.5, bend=3, pen=0.5)

_default = Recipe(
    "default",
    epochs=10,
    epochs_of_few=25,
    weight_decay=0.05,
    label_smoothing=0.05,
    deformation=STRONG,
    average_decay=0.998,
    written=0.05,
    views=5,
)
_best = replace(
    _default, network="best", epochs=30, epochs_of_few=60, average_decay=0.999
)
_quick = Recipe(
    "quick",
    epochs=1,
    epochs_of_few=12,
    weight_decay=0.01,
    label_smoothing=0.05,
    deformation=Deformation(shift=1),
    average_decay=0.99,
)
_tiny = Recipe(
    "tiny",
    epochs=30,
    epochs_of_few=100,
    learning_rate=2e-2,
    deformation=Deformation(rotation=8, scale=0.08, shear=0.08, shift=1),
    average_decay=0.999,
    views=5,
)
_reader = replace(
    _default,
    network="reader",
    learning_rate=4e-3,  # with 8e-3 validation falls in the middle of a run
    epochs=13,
    deformation=Deformation(8, scale=0.1, shear=0.1, shift=1, bend=1.5, pen=0.3),
    average_decay=0.999,
    written=0.4,
    composed=0.12,
    views=1,
)
_classic = Recipe("classic", 10, 10, 1e-3, batch_size=200, schedule="cosine")

PRESETS = {r.network: r for r in (_quick, _default, _best, _tiny, _classic, _reader)}
