"""The training step: the reference solution."""


def training_step(model, optimizer, images, labels):
    logits = model.forward(images, training=True)
    loss, dlogits = softmax_cross_entropy(logits, labels)
    model.backward(dlogits)
    optimizer.step()
    return loss


def train_epoch(model, optimizer, images, labels, rng, batch_size=BATCH_SIZE):
    order = rng.permutation(len(images))
    losses = []
    for start in range(0, len(images), batch_size):
        batch = order[start : start + batch_size]
        losses.append(training_step(model, optimizer, images[batch], labels[batch]))
    return losses
