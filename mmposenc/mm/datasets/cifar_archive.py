"""What the official CIFAR archives hold."""

from dataclasses import dataclass

__all__ = ['ARCHIVES', 'CIFARArchive']

_SITE = 'https://www.cs.toronto.edu/~kriz/'
_CIFAR10_CLASSES = 'airplane automobile bird cat deer dog frog horse ship truck'
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class CIFARArchive:
    """One official archive and the layout inside (ours).

    Args:
        name: As a user calls the data set.
        url: Address of the .tar.gz.
        md5: Checksum of the .tar.gz.
        folder: The folder inside the archive.
        members: Checksum of each file of the folder, by name.
        splits: Names of the files of each split.
        split_sizes: Number of images of each split.
        meta: Name of the file that holds the class names.
        labels_key: Key of the labels in a split's files.
        classes_key: Key of the class names in the meta file.
        classes: Names of the categories, in label order.
    """

    name: str
    url: str
    md5: str
    folder: str
    members: dict[str, str]
    splits: dict[str, tuple[str, ...]]
    split_sizes: dict[str, int]
    meta: str
    labels_key: str
    classes_key: str
    classes: tuple[str, ...]

    @property
    def filename(self) -> str:
        """Name of the .tar.gz."""
        return self.url.rsplit('/', 1)[-1]


ARCHIVES = {
    'CIFAR10': CIFARArchive(
        name='CIFAR-10',
        url=f'{_SITE}cifar-10-python.tar.gz',
        md5='c58f30108f718f92721af3b95e74349a',
        folder='cifar-10-batches-py',
        members={
            'data_batch_1': 'c99cafc152244af753f735de768cd75f',
            'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
            'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
            'data_batch_4': '634d18415352ddfa80567beed471001a',
            'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
            'test_batch': '40351d587109b95175f43aff81a1287e',
            'batches.meta': '5ff9c542aee3614f3951f8cda6e48888',
        },
        splits={'train': tuple(f'data_batch_{i}' for i in range(1, 6)), 'test': ('test_batch',)},
        split_sizes={'train': 50000, 'test': 10000},
        meta='batches.meta',
        labels_key='labels',
        classes_key='label_names',
        classes=tuple(_CIFAR10_CLASSES.split()),
    ),
    'CIFAR100': CIFARArchive(
        name='CIFAR-100',
        url=f'{_SITE}cifar-100-python.tar.gz',
        md5='eb9058c3a382ffc7106e4002c42a8d85',
        folder='cifar-100-python',
        members={
            'train': '16019d7e3df5f24257cddd939b257f8d',
            'test': 'f0ef6b0ae62326f3e7ffdfab6717acfc',
            'meta': '7973b15100ade9c7d40fb424638fde48',
        },
        splits={'train': ('train',), 'test': ('test',)},
        split_sizes={'train': 50000, 'test': 10000},
        meta='meta',
        labels_key='fine_labels',
        classes_key='fine_label_names',
        classes=tuple(_CIFAR100_CLASSES.split()),
    ),
}
"""The archives by class name; both data sets look here each time they are built."""
