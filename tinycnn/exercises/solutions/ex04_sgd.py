"""SGD with momentum: the reference solution."""


class SGD:
    def __init__(self, parameters, learning_rate, *, momentum=0.0):
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.velocity = [np.zeros_like(p.value) for p in self.parameters]

    def step(self):
        for i, p in enumerate(self.parameters):
            self.velocity[i] = self.momentum * self.velocity[i] + p.grad
            p.value -= self.learning_rate * self.velocity[i]
