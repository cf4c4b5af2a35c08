"""The presets: which network, for how long, with which learning rate.

It knows settings only; what they mean to a run is in `tinycnn.training.fit`.
"""

from dataclasses import dataclass, replace

from tinycnn.training.augment import Deformation


@dataclass(frozen=True)
class Recipe:
    """How a named network is trained.

    Attributes
    ----------
    architecture : str
        A key of `tinycnn.models.NETWORKS`.
    epochs : int
        How often every training image is seen.
    epochs_of_few : int
        The same for fewer than 20,000 images (the bundled sample), where an epoch is
        short.
    batch_size : int
    learning_rate : float
        The highest of the run.
    schedule : str
        "constant", "cosine" or "one_cycle".
    weight_decay : float
        Of Adam, decoupled.
    label_smoothing : float
    deformation : Deformation
        Of every training image, anew each epoch.
    """

    architecture: str
    epochs: int
    epochs_of_few: int
    batch_size: int
    learning_rate: float
    schedule: str
    weight_decay: float
    label_smoothing: float
    deformation: Deformation

    def epochs_for(self, train_images: int) -> int:
        """Return the number of epochs for a training set of this size."""
        return self.epochs if train_images >= 20_000 else self.epochs_of_few


PRESETS = {
    "default": Recipe(
        architecture="default",
        epochs=6,
        epochs_of_few=25,
        batch_size=64,
        learning_rate=3e-3,
        schedule="one_cycle",
        weight_decay=0.01,
        label_smoothing=0.05,
        deformation=Deformation(rotation=10, scale=0.1, shear=0.1, shift=1.5),
    ),
    "classic": Recipe(
        architecture="classic",
        epochs=10,
        epochs_of_few=10,
        batch_size=200,
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        label_smoothing=0.0,
        deformation=Deformation(),
    ),
}

# Of the network that tells digits from other ink; see `tinycnn.train_judge`.
JUDGE = replace(
    PRESETS["default"],
    architecture="judge",
    epochs=4,
    epochs_of_few=4,
    label_smoothing=0.0,
    deformation=Deformation(rotation=8, scale=0.1, shear=0.1, shift=1),
)
