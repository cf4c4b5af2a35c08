"""Learning from corrections, in a process of its own, and undoing it."""

from typing import Any

from tinycnn.reading import finetuned
from tinycnn.window.worker import Worker

READS = "tinycnn.window.served:Reads"
LEARNS = "tinycnn.window.served:Learns"


class FineTuning:
    """Fine-tuning on all corrections; not `allowed` in a window of other weights."""

    def __init__(self, window: Any, *, allowed: bool) -> None:
        self._window, self.allowed = window, allowed
        self.process: Worker | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the weights can be fine-tuned now."""
        return self.allowed and self.process is None

    def learn(self) -> None:
        """Begin."""
        folder, log = self._window.correcting.store.folder, self._window.worker.log
        self.process = Worker(LEARNS, folder, log=log, restarts=False)
        self.process.on_failure = self._on_failure
        self.process.ask("learn", then=self._on_item)
        self.process.start()
        self._window.statusbar.show_progress(0)
        self._window.say("Learning from your corrections. You can go on drawing.")

    def poll(self) -> None:
        """Handle what the process has sent."""
        if self.process is not None:
            self.process.poll()

    def stop(self) -> None:
        """Stop; the weights stay as they are."""
        self._on_failure("")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
            self.process = None
            self._window.statusbar.show_progress(None)

    def undo(self) -> None:
        """Go back to the fine-tuned weights before, or to the shipped ones."""
        try:
            undone = finetuned.undo()
        except OSError as error:
            self._window.say(f"Cannot undo ({error.strerror}); check the folder.")
            return
        text = "Nothing has been learned."
        if undone:
            self._reload()
            text = "The last learning is undone; your corrections are kept."
        self._window.say(text)

    def _on_item(self, item: float | str) -> None:
        if isinstance(item, str):
            self.close()
            self._reload()
            self._window.say(item)
        else:
            self._window.statusbar.show_progress(item)

    def _on_failure(self, message: str) -> None:
        self.close()
        self._window.say(message or "Learning stopped; nothing has changed.")

    def _reload(self) -> None:
        """Read with the weights now in use."""

        def reloaded(_: None) -> None:
            self._window.panel.breaking.reset()
            self._window.live.read_anew()

        self._window.live.ask("reload", then=reloaded)
