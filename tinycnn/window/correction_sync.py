"""Keep the user's folder in step with the corrections of this session.

A correction is shown at once, but saving it needs the ink of the digit, which the
reading process sends a little later; meanwhile it may be undone or replaced.
"""

from collections.abc import Sequence

from tinycnn.reading.corrections import Corrections
from tinycnn.window.messages import Singled
from tinycnn.window.session import Correction


class CorrectionSync:
    """Save new corrections and remove undone ones.

    Every method may raise the errors of `Corrections`: `DataError` or `OSError`.

    Parameters
    ----------
    corrections : Corrections
    """

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self._kept: list[tuple[Correction, Singled]] = []  # in this session
        self._expected: list[Correction] = []

    def follow(
        self, before: Sequence[Correction], after: Sequence[Correction]
    ) -> list[Correction]:
        """Remove undone corrections.

        Parameters
        ----------
        before, after : sequence of Correction
            All corrections before and after a step.

        Returns
        -------
        list of Correction
            The new ones; `keep` each once its ink has arrived.
        """
        for correction in before:
            if correction not in after:
                self._forget(correction)
        new = [correction for correction in after if correction not in before]
        self._expected += new
        return new

    def keep(self, singled: Singled) -> bool:
        """Save the correction that the ink belongs to; return whether it was saved.

        A correction that has been undone in the meantime is not saved.
        """
        correction = singled.name
        if not isinstance(correction, Correction) or correction not in self._expected:
            return False
        self._expected.remove(correction)
        self.corrections.add(singled.image, correction.label, singled.strokes)
        self._kept.append((correction, singled))
        return True

    def _forget(self, correction: Correction) -> None:
        if correction in self._expected:
            self._expected.remove(correction)
            return
        numbers = [n for n, (kept, _) in enumerate(self._kept) if kept == correction]
        if not numbers:
            return
        # Only the latest can be removed, so the later ones are removed and re-added.
        later = self._kept[numbers[-1] + 1 :]
        for _ in range(len(later) + 1):
            self._kept.pop()
            self.corrections.remove_last()
        for kept, singled in later:
            self.corrections.add(singled.image, kept.label, singled.strokes)
            self._kept.append((kept, singled))
