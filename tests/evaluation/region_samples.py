"""Random label maps and predictions, and a metric's figures on them, for the tests of RegionIoUMetric."""

import torch

CLASSES = tuple('abcdef')


def make_samples(number=3, height=9, width=21, void=0.2, classes=5, seed=0):
    """Random label maps, three quarters of them predicted; class f is absent, e and up only on the right."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(number):
        shape = (1, height, width + i)
        labels = torch.randint(0, classes, shape, generator=generator)
        labels[..., : width // 2] %= 4
        prediction = torch.randint(0, classes, shape, generator=generator)
        prediction = torch.where(torch.rand(shape, generator=generator) < 0.75, labels, prediction)
        labels[torch.rand(shape, generator=generator) < void] = 255
        samples.append({'gt_sem_seg': {'data': labels}, 'pred_sem_seg': {'data': prediction}})
    return samples


def evaluate(metric, samples, size=None, classes=CLASSES):
    metric.dataset_meta = {'classes': classes}
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples) if size is None else size)
