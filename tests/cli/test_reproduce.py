"""mmposenc reproduce: runs what is missing, resumes, reads figures; its entries are commands that exist."""

import json
import os
import re
import shlex
import signal
import threading
import time
from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest

from mmposenc.cli import call, common, make_parser, models, reproduce
from mmposenc.cli.experiments import DATA, EXPERIMENTS, Cell, Experiment
from mmposenc.cli.reproduce import Run, read_figures, results, run_all

ROOT = Path(__file__).parents[2]

# Counts to the second argument, a step in 0.02 s; saves the count when it is told to end, and resumes from it.
COUNTER = """
import json, os, signal, sys, time
from pathlib import Path
out, last = Path(sys.argv[1]), int(sys.argv[2])
saved = out / 'count.txt'
count = int(saved.read_text()) if saved.exists() else 0
with (out / 'starts.txt').open('a') as file:
    file.write(f'{count}\\n')
def end(*_):
    saved.write_text(str(count))
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
(out / 'ready').touch()
while count < last:
    time.sleep(0.02)
    count += 1
saved.write_text('0')
(out / 'figures.json').write_text(json.dumps({'count': count, 'nested': [{'p': 0.5}], 'text': 'no figure'}))
"""
FAILS = 'raise SystemExit(3)'
DEAF = """import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('pid', 'w').write(str(os.getpid()))
time.sleep(100)
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, 'PUBLISHED', tmp_path / 'published')
    (tmp_path / 'count.py').write_text(COUNTER)
    (tmp_path / 'fail.py').write_text(FAILS)
    return tmp_path / 'out'


def counter(name: str, steps: int, commands: int = 1) -> Experiment:
    lines = [f'{Path.cwd()}/count.py {{out}} {steps} {{seed}}'] * commands
    return Experiment(name, tuple(lines), ('figures.json',), 1, 1, cells=(Cell('Fig. 4', ('count', 'nested/0/p')),))


def use(monkeypatch: pytest.MonkeyPatch, *experiments: Experiment) -> None:
    monkeypatch.setattr(reproduce, 'EXPERIMENTS', experiments)


def starts(run: Path) -> list[str]:
    return (run / 'starts.txt').read_text().split()


def said(capsys: pytest.CaptureFixture, *words: str) -> str:
    """What `mmposenc reproduce` prints."""
    capsys.readouterr()
    call(['reproduce', *words])
    return capsys.readouterr().out


def test_stops_when_the_minutes_are_over_and_resumes(out, monkeypatch, capsys) -> None:
    use(monkeypatch, counter('long', 120), counter('never', 1))
    assert '0 done, 2 stopped, 0 failed' in said(capsys, '--out', 'out', '--minutes', '0.02')
    assert [path.name for path in out.iterdir() if path.name[0] != '.'] == ['long-seed0']

    shown = said(capsys, '--out', 'out')
    assert 'done   long-seed0: 120.00 / 0.500' in shown
    assert '2 done, 0 stopped, 0 failed' in shown
    first, second = starts(out / 'long-seed0')
    assert first == '0'
    assert 0 < int(second) < 120
    record = json.loads((out / 'long-seed0.json').read_text())
    assert record['figures'] == {'count': 120, 'nested/0/p': 0.5}
    assert record['commands'] == [f'python {Path.cwd()}/count.py {{out}} 120 0']
    assert (record['format'], record['name'], record['seed']) == ('mmposenc.experiment/1', 'long', 0)
    assert record['minutes'] > 120 * 0.02 / 60 * 0.9
    assert record['versions']['torch']
    assert record['device']

    assert '0 runs to do' in said(capsys, '--out', 'out')
    assert len(starts(out / 'long-seed0')) == 2


def test_a_signal_lets_everything_save_its_state(out, capsys) -> None:
    before = signal.getsignal(signal.SIGTERM)
    todo = [Run(counter(name, 1000), 0, out) for name in ('one', 'two', 'three')]

    def end() -> None:
        while len(list(out.glob('*/ready'))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(SystemExit) as info:
        run_all(todo, jobs=2)
    assert info.value.code == 143
    assert '0 done, 3 stopped, 0 failed' in capsys.readouterr().out
    assert all((out / f'{name}-seed0' / 'count.txt').is_file() for name in ('one', 'two'))
    assert not (out / 'three-seed0').exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_does_not_end_is_killed(out, monkeypatch) -> None:
    monkeypatch.setattr(reproduce, 'GRACE', 0.2)
    Path('deaf.py').write_text(DEAF)
    run_all([Run(Experiment('deaf', (f'{Path.cwd()}/deaf.py',), (), 1, 1), 0, out)], 1, minutes=0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path('pid').read_text()), 0)


def test_a_failure_neither_stops_the_others_nor_repeats_what_is_done(out, capsys) -> None:
    works, fail = counter('works', 1, commands=2), f'{Path.cwd()}/fail.py'
    fails = Experiment('fails', (works.commands[0], fail, works.commands[0]), (), 1, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match='1 of 2 runs failed'):
            run_all([Run(fails, 0, out), Run(works, 0, out)], 1)
    shown = capsys.readouterr().out
    assert re.search(r'failed fails-seed0: ended with status 3; .*output.txt says why', shown)
    assert shown.count('1 done, 0 stopped, 1 failed') == 2
    assert (len(starts(out / 'fails-seed0')), len(starts(out / 'works-seed0'))) == (1, 2)


def test_a_folder_of_another_run_is_refused(out, monkeypatch, capsys) -> None:
    run_all([Run(counter('same', 1), 0, out)], 1)
    with pytest.raises(ValueError, match='1 of 1 runs failed'):
        run_all([Run(counter('same', 2), 0, out)], 1)
    assert 'was made by other commands' in capsys.readouterr().out
    use(monkeypatch, counter('one', 1))
    with common.lock(Namespace(launcher='none'), out, '--out'), pytest.raises(ValueError, match='another run works in'):
        call(['reproduce', '--out', str(out)])


@pytest.mark.parametrize('gpu, order', [(True, 'full small'), (False, 'small full')])
def test_size_and_length_decide_what_runs_first(out, monkeypatch, capsys, gpu: bool, order: str) -> None:
    small, long = (Experiment(name, (), (), 1, cpu, full=False) for name, cpu in (('small', 1), ('long', 1000)))
    use(monkeypatch, long, small, Experiment('full', (), (), 1, 1))
    monkeypatch.setattr('torch.cuda.is_available', lambda: gpu)
    monkeypatch.setattr(reproduce, 'run_all', lambda todo, *_: print(*(run.name for run in todo)))
    ran = said(capsys).replace('-seed0', '').splitlines()[-1].split()
    assert [name for name in ran if name != 'long'] == order.split()
    assert ('long' in ran) == gpu
    assert 'long-seed0' in said(capsys, 'long')


def test_missing_data_and_repacked_cifar(out, monkeypatch, capsys) -> None:
    path = next(iter(DATA))
    use(monkeypatch, Experiment('cifar', ('train CONFIG --cfg-options a=1', 'report X'), (), 1, 1, needs=(path,)))
    with pytest.raises(ValueError, match='nothing can run'):
        said(capsys)
    line = f'left out: cifar needs {path} (mmposenc prepare-data --dataset cifar10)'
    assert line in capsys.readouterr().out
    command, other = Run(reproduce.EXPERIMENTS[0], 0, out, unverified=True).commands
    assert re.findall(r'(\w+)_dataloader.dataset.verify=False', command) == ['train', 'val', 'test']
    assert other == 'report X'


@pytest.mark.parametrize(
    'words, message',
    [
        ('no-such', 'there is no experiment no-such: mmposenc reproduce --list shows all'),
        ('--jobs 0', '--jobs and --minutes must be above 0, got 0 and None'),
        ('--minutes 0', 'must be above 0, got 1 and 0.0'),
    ],
)
def test_wrong_arguments(out, words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(['reproduce', *words.split()])


def test_names_beginnings_and_patterns() -> None:
    def chosen(*names: str) -> list[str]:
        return sorted(experiment.name for experiment in reproduce.choose(names))

    assert chosen() == sorted(experiment.name for experiment in EXPERIMENTS)
    assert len(chosen('table1')) == 42
    assert all(name.startswith('table1-') for name in chosen('table1'))
    assert chosen('table2-cifar10-augshift') == ['table2-cifar10-augshift'], 'not those that begin like it'
    assert chosen('fig4-camvid', 'digits-category-*-permutenet-[35]x*') == [
        'digits-category-zeros-permutenet-3x3',
        'digits-category-zeros-permutenet-5x5',
        'fig4-camvid',
    ]


def test_the_weights_of_a_small_network_are_kept_and_load(out) -> None:
    import torch

    given = Namespace(mean=None, std=None, cfg_options=[], weights_by_order=False, trust_checkpoint=False)
    name = 'mmposenc::gapnet_r18_grid3-location_digits.py'
    trained, loaded = (models.build(given, name)[0] for _ in range(2))
    variance = next(key for key in trained.state_dict() if key.endswith('running_var'))
    trained.state_dict()[variance].fill_(1e5)
    large = {'weight': torch.zeros(2**21 + 1)}  # two bytes each
    for run, weights in (('small', trained.state_dict()), ('large', large)):
        folder = out / f'{run}-seed0' / 'train'
        folder.mkdir(parents=True)
        torch.save({'state_dict': weights, 'optimizer': {}}, folder / 'epoch_1.pth')
        (folder / 'last_checkpoint').write_text('epoch_1.pth')
    run_all([Run(counter(run, 1), 0, out) for run in ('small', 'large')], 1)
    assert [file.name for file in out.glob('*.safetensors')] == ['small-seed0.safetensors']
    models.load_weights(given, loaded, str(out / 'small-seed0.safetensors'))
    for key, value in loaded.state_dict().items():
        expected = trained.state_dict()[key]
        halved = value.is_floating_point() and key != variance
        assert torch.equal(value, expected.half().float() if halved else expected), key


def test_the_figure_of_a_training_is_that_of_its_last_epoch(tmp_path: Path) -> None:
    log = tmp_path / 'train' / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(
        '{"lr": 0.1, "loss": 2.0, "step": 10}\n{"accuracy/top1": 90.0, "time": 1.0, "step": 1}\n'
        '{"accuracy/top1": 80.0, "data_time": 0.1, "step": 2}\n{"lr": 0.1, "loss": 1.0, "step": 12}\n{"st'
    )
    note = tmp_path / 'train' / 'last_checkpoint'
    note.write_text('/elsewhere/epoch_2.pth')
    assert read_figures(tmp_path, ('train',)) == {'accuracy/top1': 80.0}
    for checkpoint in ('epoch_3.pth', 'stopped.pth'):
        note.write_text(checkpoint)
        with pytest.raises(ValueError, match='has no validation of the end of its training'):
            read_figures(tmp_path, ('train',))


def test_figures_of_tests_and_tables(tmp_path: Path) -> None:
    (tmp_path / 'sweep').mkdir()
    (tmp_path / 'sweep' / 'claims.csv').write_text(
        'layer,region,harm,p\nneck,left,1.5,0.025\nneck,right,-2,\nneck,all,nan,inf\n'
    )
    for time_of, top1 in (('1', 10), ('2', 20)):
        (tmp_path / 'test' / time_of).mkdir(parents=True)
        (tmp_path / 'test' / time_of / f'{time_of}.json').write_text(json.dumps({'accuracy/top1': top1, 'time': 3}))
    assert read_figures(tmp_path, ('test', 'sweep/claims.csv')) == {
        'accuracy/top1': 20,
        'sweep/claims/neck/left/harm': 1.5,
        'sweep/claims/neck/left/p': 0.025,
        'sweep/claims/neck/right/harm': -2,
    }
    with pytest.raises(FileNotFoundError, match='no figures of a test'):
        read_figures(tmp_path / 'sweep', ('test',))


def test_every_earlier_figure_is_that_of_one_experiment(tmp_path: Path) -> None:
    earlier = json.loads((ROOT / 'docs' / 'results' / 'earlier.json').read_text())
    assert len({(record['name'], record['seed']) for record in earlier}) == len(earlier)
    known = {e.name: e for e in EXPERIMENTS}
    for record in earlier:
        filled = [cell.keys for cell in known[record['name']].cells if cell.keys]
        assert not filled or filled[0][0] in record['figures'], record['name']
    done = results(tmp_path)
    headline = done['table2-cifar100-augshift', 0]
    assert headline['figures']['accuracy/top1'] == 77.8
    assert 'H200' in headline['device']
    assert done['objects-lite1', 0]['figures']['objects/end/bn2/Eq. 2/random_p'] == 0.005
    assert done['digits-location-zeros-permutenet-3x3', 2]['figures'] == {'accuracy/top1': 88.8889}


def test_published_records_are_of_the_commands_that_their_experiments_have_now(out) -> None:
    known = {e.name: e for e in EXPERIMENTS}
    files = list((ROOT / 'docs' / 'results' / 'reproduce').glob('*.json'))
    assert files
    for file in files:
        record = json.loads(file.read_text())
        runs = [Run(known[record['name']], record['seed'], out, unverified) for unverified in (False, True)]
        assert file.stem == runs[0].name
        assert [line.partition(' ')[2] for line in record['commands']] in [run.commands for run in runs], file.name


def test_a_consistency_card_counts(out) -> None:
    counts = dict(tensor=[[7, 6, 5], [4, 3, 2]])
    card = dict(images=8, correct=6, protocols=['zero_ref', 'crop_pair'], max_shifts=[8, None], counts=counts)
    (out.parent / 'card.json').write_text(json.dumps(card))
    assert read_figures(out.parent, ('card.json',)) == {
        'accuracy/top1': 75,
        'consistency/cons8_zero_ref': 87.5,
        'consistency/cons_crop_pair': 50,
    }


def test_a_published_record_counts_and_its_format_is_checked(out, monkeypatch, capsys) -> None:
    use(monkeypatch, counter('one', 1))
    run_all([Run(counter('one', 1), 0, out)], 1)
    published = reproduce.PUBLISHED / 'reproduce'
    published.mkdir(parents=True)
    (out / 'one-seed0.json').rename(published / 'one-seed0.json')
    shown = said(capsys, '--list', '--seeds', '0', '1')
    assert re.search(r'one +1/2 +1 +1 +1.00 / 0.500\n', shown)
    assert 'Not measured yet' not in shown
    assert re.search(r'order in which they run:\none +0/1 +1 +1\n', said(capsys, '--list', '--seeds', '1'))
    shown = said(capsys, 'one', '--seeds', '0')
    assert '0 runs to do' in shown
    assert '1 done before (--again runs' in shown
    assert '1 runs to do' in said(capsys, 'one', '--seeds', '0', '--again', '--out', 'out')
    assert (out / 'one-seed0.json').is_file()
    (published / 'one-seed0.json').write_text('{"format": "else"}')
    with pytest.raises(ValueError, match='must have the format'):
        results(out)


COMMANDS = sorted({re.sub(r'\{\w+\}', 'X', command) for e in EXPERIMENTS for command in e.commands})


def test_every_command_is_accepted_by_its_parser() -> None:
    parser = cache(make_parser)
    for command in COMMANDS:
        name, *words = shlex.split(command)
        if name.endswith('.py'):
            text = (ROOT / name).read_text()
            if 'models.add_arguments' in text:
                text += Path(models.__file__).read_text() + Path(common.__file__).read_text()
            assert all(f"'{word}'" in text for word in words if word.startswith('--'))
        else:
            parser(name).parse_args(words)  # exits otherwise


def test_every_option_overrides_something_that_its_config_has() -> None:
    from mmposenc.host.config import read_config

    # What the classes accept and the configs leave at its default.
    new = {'padding_mode', 'stem_channels', 'base_channels', 'on_cpu', 'channels_last', 'fraction', '_delete_'}
    new |= {'model_name', 'randomness', 'direction', 'mse'}
    read = cache(read_config)
    for command in COMMANDS:
        config = re.search(r'mmposenc::\S+', command)
        cfg = config and read(config[0])
        for option in re.findall(r'(\S+)=', command.partition('--cfg-options')[2]):
            part = cfg
            for key in option.split('.'):
                if key in new:
                    break
                known = int(key) < len(part) if isinstance(part, list) else key in part
                assert known, f'{command}: {option}'
                part = part[int(key)] if isinstance(part, list) else part[key]


def test_every_experiment_needs_known_data_and_fills_in_what_it_measures() -> None:
    for e in EXPERIMENTS:
        assert set(e.needs) <= DATA.keys()
        assert e.gpu > 0 < e.cpu
        assert ('{checkpoint}' in ' '.join(e.commands)) <= e.commands[0].startswith('train ')
        assert ('train ' in e.commands[0]) <= ('{seed}' in e.commands[0])


@pytest.mark.slow
def test_a_training_is_stopped_and_resumed(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    whole = next(e for e in EXPERIMENTS if e.name == 'digits-location-zeros-gapnet-3x3')
    short = ' train_cfg.max_epochs=4 param_scheduler.end=4'
    experiment = Experiment('tiny', (whole.commands[0] + short,), ('train',), 1, 1, cells=whole.cells)
    runs = [Run(experiment, 3, tmp_path / name) for name in ('stopped', 'straight')]
    log = tmp_path / 'stopped' / 'tiny-seed3' / 'output.txt'

    def end() -> None:
        while not (log.is_file() and 'Epoch(train)' in log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(SystemExit):
        run_all(runs[:1], 1)
    assert (tmp_path / 'stopped' / 'tiny-seed3' / 'train' / 'stopped.pth').is_file()
    run_all([Run(experiment, 3, run.out) for run in runs], 2)
    assert 'resuming from' in log.read_text()
    records = [json.loads((run.out / 'tiny-seed3.json').read_text()) for run in runs]
    assert records[0]['figures'] == records[1]['figures']
    assert set(records[0]['figures']) == {'accuracy/top1'}

    from mmposenc.host.weights import read_weights

    weights = next(iter(read_weights(runs[0].out / 'tiny-seed3.safetensors').values()))
    assert {str(value.dtype) for value in weights.values()} == {'torch.float16', 'torch.int64'}
