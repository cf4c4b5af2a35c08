"""Adam: the reference solution."""


class Adam:
    def __init__(
        self, parameters, learning_rate=1e-3, *, beta1=0.9, beta2=0.999, eps=1e-8
    ):
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.m = [np.zeros_like(p.value) for p in self.parameters]
        self.v = [np.zeros_like(p.value) for p in self.parameters]
        self.steps = 0

    def step(self):
        self.steps += 1
        for i, p in enumerate(self.parameters):
            self.m[i] = self.beta1 * self.m[i] + (1 - self.beta1) * p.grad
            self.v[i] = self.beta2 * self.v[i] + (1 - self.beta2) * p.grad**2
            m_hat = self.m[i] / (1 - self.beta1**self.steps)
            v_hat = self.v[i] / (1 - self.beta2**self.steps)
            p.value -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)
