"""A picture before a captioner of the transformers library: log q as its tokens change, and gradients by PyTorch."""

import numpy as np

from explain import attribution


class TransformersScene(attribution.Scene):
    """A picture by its tokens and those of a grey one, float32 [N, D]."""

    def __init__(self, captioner, tokens, grey_tokens):
        self.captioner, self.torch = captioner, captioner.torch
        self.n_apart, *shape = captioner.grid(tokens)
        self.shape = tuple(shape)
        self.tokens, self.grey_tokens = tokens, grey_tokens

    @property
    def cells(self):
        return self.tokens[self.n_apart :]

    @property
    def blank_cells(self):
        return self.grey_tokens[self.n_apart :]

    def _tensor(self, values):
        return self.torch.tensor(np.asarray(values, np.float32), device=self.captioner.model.device)

    def _parts(self, values, ids, n_tokens=None):
        n_tokens = len(self.tokens) if n_tokens is None else n_tokens
        at_once = self.captioner.at_once(ids, n_tokens * self.tokens.shape[-1])
        return [values[k : k + at_once] for k in range(0, len(values), at_once)]

    def log_q_alone(self, cells, word_ids):
        with self.torch.no_grad():
            parts = [
                self.captioner.word_log_probs(self._tensor(part)[:, None], word_ids).cpu().numpy()
                for part in self._parts(cells, word_ids, n_tokens=1)
            ]
        return np.concatenate(parts)

    def negative_divergence(self, query):
        """-KL(p_t || q_i,t) of each cell i alone (equation 5) -> [C, T]."""
        target, found = self._tensor(query.target_log_probs), []
        with self.torch.no_grad():
            for part in self._parts(self.cells, query.ids, n_tokens=1):
                log_q = self.captioner.log_probs(self._tensor(part)[:, None], query.ids)  # [c, T, V]
                found.append((target.exp() * (log_q - target)).sum(dim=-1).cpu().numpy())
        return np.concatenate(found)

    def under(self, masks):
        """What is read under masks of the patches (10), array or tensor [m, C] -> tensor [m, N, D]."""
        masks = masks if isinstance(masks, self.torch.Tensor) else self._tensor(masks)
        tokens, grey = self._tensor(self.tokens), self._tensor(self.grey_tokens)
        apart = masks.mean(dim=1, keepdim=True).expand(-1, self.n_apart)
        return grey + self.torch.cat([apart, masks], dim=1)[..., None] * (tokens - grey)

    def log_q(self, masks, word_ids):
        with self.torch.no_grad():
            parts = [
                self.captioner.word_log_probs(self.under(part), word_ids).cpu().numpy()
                for part in self._parts(masks, word_ids)
            ]
        return np.concatenate(parts)

    def _slopes(self, leaf, states, word_ids):
        """The gradient of each word's log q by a leaf [m, ...] of what is read -> [m, T, ...]."""
        log_q = self.captioner.word_log_probs(states, word_ids)  # [m, T]
        slopes = [
            self.torch.autograd.grad(log_q[:, t].sum(), leaf, retain_graph=t + 1 < len(word_ids))[0]
            for t in range(len(word_ids))
        ]
        return self.torch.stack(slopes, dim=1).cpu().numpy()

    def mask_gradients(self, masks, word_ids):
        found = []
        for part in self._parts(masks, word_ids):
            leaf = self._tensor(part).requires_grad_()
            found.append(self._slopes(leaf, self.under(leaf), word_ids))
        return np.concatenate(found)

    def cell_gradients(self, word_ids):
        leaf = self._tensor(self.cells)[None].requires_grad_()
        apart = self._tensor(self.tokens[: self.n_apart])[None]
        return self._slopes(leaf, self.torch.cat([apart, leaf], dim=1), word_ids)[0]

    def gradients_alone(self, cell, word_ids):
        leaf = self._tensor(cell)[None].requires_grad_()
        return self._slopes(leaf, leaf[:, None], word_ids)[0]
