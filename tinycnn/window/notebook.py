"""Which corrections of this sitting are kept in the user's folder.

A correction is shown at once, but to be kept it needs the digit's own ink, which the
process that reads sends a little later; meanwhile the correction may be undone or
replaced. This file keeps the two in step. It knows corrections and their folder, and no
widgets.
"""

from collections.abc import Sequence

from tinycnn.reading.corrections import Corrections
from tinycnn.window.messages import Singled
from tinycnn.window.session import Correction


class Notebook:
    """Keeps what is corrected, and forgets what is taken back.

    Every method may raise what `Corrections` raises: `DataError` or `OSError`.

    Parameters
    ----------
    corrections : Corrections
    """

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self._kept: list[tuple[Correction, Singled]] = []  # of this sitting
        self._expected: list[Correction] = []

    def follow(
        self, before: Sequence[Correction], after: Sequence[Correction]
    ) -> list[Correction]:
        """Forget what was taken back.

        Parameters
        ----------
        before, after : sequence of Correction
            What was corrected, before and after a correction, its undoing or redoing.

        Returns
        -------
        list of Correction
            The new ones; `keep` each once its ink is there.
        """
        for correction in before:
            if correction not in after:
                self._forget(correction)
        new = [correction for correction in after if correction not in before]
        self._expected += new
        return new

    def keep(self, singled: Singled) -> bool:
        """Keep the correction that the ink is named after; return whether it is kept.

        It is not if it was taken back meanwhile.
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
        # The folder gives up its latest only, so those after it go and come back.
        later = self._kept[numbers[-1] + 1 :]
        for _ in range(len(later) + 1):
            self._kept.pop()
            self.corrections.remove_last()
        for kept, singled in later:
            self.corrections.add(singled.image, kept.label, singled.strokes)
            self._kept.append((kept, singled))
