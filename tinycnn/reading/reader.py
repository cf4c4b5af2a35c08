"""Candidates become digits."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any
import numpy as np
from tinycnn.ink.ink import Ink, strokes_ink
from tinycnn.ink.strokes import Strokes
from tinycnn.nn.losses import softmax
from tinycnn.reading import segment

@dataclass(frozen=True)
class Digit:
    digit: int | None
    confidence: float
    box: tuple[int, int, int, int]
    top: tuple[tuple[int, float], ...]

@dataclass(frozen=True)
class Reading:
    lines: tuple[tuple[Digit, ...], ...]
    @property
    def text(self):
        return "\n".join("".join("?" if d.digit is None else str(d.digit) for d in l) for l in self.lines)
    @property
    def digits(self):
        return tuple(d for l in self.lines for d in l)

class Reader:
    def __init__(self, weights: Path | None = None):
        from tinycnn.evaluate import SHIPPED, _load
        self.model, meta = _load(weights or SHIPPED)
        self.temperature = float(meta.get("temperature", 1.0))
        self.junk = None
    def probabilities(self, images):
        return softmax(self.model.predict(np.ascontiguousarray(images)[..., None]) / np.float32(self.temperature))
    def digitness(self, images):
        if self.junk is None:
            return np.full(len(images), .9)
        return softmax(self.junk.predict(np.ascontiguousarray(images)[..., None]))[:, 1]
    def read_picture(self, picture: Any) -> Reading:
        from tinycnn.ink.picture import load_picture, picture_ink
        return self.read_ink(load_picture(picture) if isinstance(picture, str | Path) else picture_ink(picture))
    def read_strokes(self, strokes: Strokes) -> Reading:
        return self.read_ink(Ink(np.zeros((0, 0), np.float32), strokes.size, strokes=strokes))
    SURE = .9
    W = 1.0
    def read_ink(self, ink: Ink) -> Reading:
        page = segment.PicturePage(ink.values) if ink.strokes is None else segment.StrokePage(ink.strokes)
        scores = {}
        lines = segment.lines(page)
        cands = self._score(page, lines, scores)
        best = {}
        for cs in cands:
            for c in cs:
                p, q = scores[c.names]
                for i in c.pieces:
                    best[i] = max(best.get(i, 0), q * p.max())
        doubt = [i for i in range(len(page.pieces)) if best[i] < self.SURE]
        if doubt and self.SPLIT:
            n = len(page.pieces)
            page.cut(doubt)
            if len(page.pieces) > n:
                lines = segment.lines(page)
                cands = self._score(page, lines, scores)
        out = []
        for line, cs in zip(lines, cands):
            ds = self._search(line, cs, scores, ink.scale)
            if ds: out.append(tuple(ds))
        return Reading(tuple(out))
    SPLIT = True
    def _score(self, page, lines, scores):
        all_ = []; new = {}
        for line in lines:
            cs = list(segment.candidates(page, line)); all_.append(cs)
            for c in cs:
                object.__setattr__(c, 'names', tuple(sorted((page.pieces[i].whole, page.pieces[i].part, page.pieces[i].x1) for i in c.pieces)))
                if c.names not in scores: new[c.names] = c.pieces
        if new:
            images = np.stack([page.image(p) for p in new.values()])
            P = self.probabilities(images); Q = self.digitness(images)
            for name, p, q in zip(new, P, Q): scores[name] = (p, float(q))
        return all_
    THRESHOLD = .05; NONE=.001; LAM=1.; MU=1.
    def _search(self, line, mine, scores, scale):
        N = len(line.pieces)
        best = [-np.inf] * (N + 1); best[0] = 0.; back = [None] * (N + 1)
        b = np.array(line.bonds); join = -np.logaddexp(0, -b) * self.MU; split = -np.logaddexp(0, b) * self.MU
        for c in mine:
            p, q = scores[c.names]
            h = (c.box[3] - c.box[1]) / line.height
            w = (c.box[2] - c.box[0]) / line.height
            small = np.log(min(1., max(h, w*.5) / .55)) * 4
            base = best[c.start] + join[c.start:c.stop - 1].sum() + (split[c.start - 1] if c.start else 0)
            digit = self.LAM*np.log(q * p.max() + 1e-9) + small
            none = np.log((1 - q) * self.NONE + 1e-9)
            drop = np.log(.5 if h < .35 else .02 if h < .5 else 1e-4) if c.stop == c.start + 1 else -np.inf
            for s, kind in ((digit, 'd'), (none, 'n'), (drop, 'x')):
                t = base + s
                if t > best[c.stop]:
                    best[c.stop] = t; back[c.stop] = (c, p, q, kind)
        out = []; at = N
        while at:
            c, p, q, kind = back[at]; at = c.start
            if kind == 'x': continue
            order = np.argsort(-p, kind='stable')[:3]
            conf = float(p.max() * q)
            out.append(Digit(int(order[0]) if kind == 'd' and conf >= self.THRESHOLD else None, conf,
                tuple(int(round(v * scale)) for v in c.box), tuple((int(k), float(p[k] * q)) for k in order)))
        return out[::-1]
