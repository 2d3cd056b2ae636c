"""The task of a directory of text files, whatever they are about."""

import pytest

from auxin.config import ModelConfig, RunConfig
from auxin.errors import ConfigError, DataError
from auxin.experiment.train import train
from auxin.measures.accuracy import Evaluator
from auxin.tasks import Contrast, load_task
from auxin.tasks.files import annotated, line_of, problems

REFLEXIVES = {
    "train.tsv": "der Bär wäscht sich . refl\tder Bär wäscht sich\n",
    "val.tsv": "die Bären waschen sich . refl\tdie Bären waschen sich\n",
    "gen.tsv": "der Bär . refl\tder Bär wäscht sich\t(NP (D der) (N Bär))\tder Bär wäscht sich\tder Bär waschen sich\n",
}


def written(folder, contents=REFLEXIVES, **changes):
    folder.mkdir(exist_ok=True)
    for name, content in (contents | {f"{k}.tsv": v for k, v in changes.items()}).items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    return folder


def test_columns(tmp_path):
    task = load_task("files", data_dir=written(tmp_path))
    assert list(task.splits) == ["train", "val", "gen"]
    (line,) = task.splits["gen"]
    assert (line.source, line.target, line.marker) == ("der Bär . refl", "der Bär wäscht sich", "refl")
    assert (line.words, line.gold) == (["der", "Bär"], ("der", "Bär"))
    assert task.scorer.contrast(line) == Contrast(2, "wäscht", "waschen")
    assert task.scorer.linear(line) == "der Bär waschen sich"
    (plain,) = task.splits["train"]
    assert not plain.has_gold
    assert task.scorer.contrast(plain) is None
    with pytest.raises(DataError, match="has no gold tree"):
        _ = plain.gold
    assert "waschen" in task.vocabulary
    assert task.sha256 == load_task("files", data_dir=tmp_path).sha256
    assert load_task("files", data_dir=written(tmp_path, test="a\tb\n")).splits["test"]


def test_line_ends_byte_order_marks_spaces_and_any_letters(tmp_path):
    plain = load_task("files", data_dir=written(tmp_path / "plain"))
    typed = {
        name: content.replace("\n", "  \r\n").replace("\t", " \t ") for name, content in REFLEXIVES.items()
    }
    other = written(tmp_path / "typed", {name: b"\xef\xbb\xbf" + c.encode() for name, c in typed.items()})
    assert load_task("files", data_dir=other).splits == plain.splits
    japanese = written(tmp_path / "ja", train="猫 が\t寝る 🐈\n", val="犬 が\t寝る\n", gen="猫 が\t寝る\n")
    assert "🐈" in load_task("files", data_dir=japanese).vocabulary


@pytest.mark.parametrize(
    "tree", ["", "(NP (D der) (N Bär))", "(D der)", "(S (NP (D der) (N Bär)) (V -LRB-))"]
)
def test_a_line_that_is_written_reads_as_the_same_sentence(tree):
    sentence = annotated(["der Bär (", "er", tree, "er", "sie" * bool(tree)])
    assert annotated(line_of(sentence).split("\t")) == sentence


def test_only_lines_with_a_marker_of_gen_are_scored(tmp_path):
    mixed = "a b . copy\ta b\na b . refl\tb a\n"
    folder = written(tmp_path, train=mixed, val=mixed, gen="b b . refl\tb b\n")
    scored = Evaluator(load_task("files", data_dir=folder), "val").sentences
    assert [s.source for s in scored] == ["a b . refl"]
    many = "".join(f"a w{i}\tb\n" for i in range(12))  # no markers: too many last words
    assert len(Evaluator(load_task("files", data_dir=written(tmp_path, val=many)), "val").sentences) == 12


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b", r"1 columns; allowed: 2 to 5: source, target"),
        ("", r"1 columns"),
        ("a\tb\t\ta\tb\tc", "6 columns"),
        ("\tb", "source of '.*' is empty"),
        ("a\t ", "target of .* is empty"),
        ("a\t<eos>", "target holds '<eos>'; allowed: words"),
        ("a b\tc\t(X a", "not Penn Treebank brackets"),
        ("a b\tc\t(X (Y b) (Z a))", "is not of the source's words"),
        ("a b\tc\t(X a) (X b)", "holds 2 trees; allowed: one"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    folder = written(tmp_path, gen=f"a b\tc\n{line}\na b\tc\n")
    with pytest.raises(DataError, match=f"{folder}/gen.tsv:2: .*{message}"):
        load_task("files", data_dir=folder)


def test_missing_files(tmp_path):
    folder = written(tmp_path)
    (folder / "val.tsv").unlink()
    with pytest.raises(DataError, match=r"has no val\.tsv; allowed: train\.tsv, val\.tsv, gen\.tsv"):
        load_task("files", data_dir=folder)
    with pytest.raises(ConfigError, match=r"data_dir is ''; allowed: a directory with train.tsv"):
        load_task("files")


def lines(*words: str, end: str = "\n") -> bytes:
    return "".join(f"the {word} sleeps\t{word}{end}" for word in words).encode()


def test_line_ends_of_every_system_are_read_and_a_mixture_is_refused(tmp_path):
    for end in ("\n", "\r\n", "\r\r\n", "\r"):
        task = load_task("files", data_dir=written(tmp_path, train=lines("newt", "yak", end=end)))
        assert [s.target for s in task.splits["train"]] == ["newt", "yak"]
    mixed = written(tmp_path, train=lines("newt", "yak") + lines("cat", "dog", end="\r") + b"\n")
    with pytest.raises(DataError, match=r"train\.tsv:3: a carriage return inside the line"):
        load_task("files", data_dir=mixed)


def test_what_is_doubtful_is_counted(tmp_path):
    given = {"train": lines("newt", "élan", "newt"), "val": lines("newt")}

    def found(gen: bytes) -> list[str]:
        return problems(load_task("files", data_dir=written(tmp_path, **given, gen=gen)).splits)

    small = ["different lines of train: 2, too few to learn a rule from"]
    one = lambda split, share=100: (
        f"lines of {split}: {100 // share}, of which each is {share} points of its accuracy"
    )
    assert found(lines("newt") + lines("yak", "cat", "eft")) == [
        *small,
        one("val"),
        "lines of gen with a word in the answer that train lacks: 3 of 4",
        one("gen", 25),
        "words of gen that train lacks: 3 ('cat', 'eft', 'yak')",
        "lines of gen that are in train, too: 1 of 4",
    ]
    assert found(lines("e\u0301lan") + "\ufeff".encode() + lines("newt")) == [
        *small,
        r"words that look the same: 2 ('e\u0301lan' and '\xe9lan', …)",
        r"lines of gen with a byte order mark: 1 ('\ufeffthe newt sleeps newt')",
        one("val"),
        "lines of gen with a word in the answer that train lacks: 1 of 2",
        one("gen", 50),
        r"words of gen that train lacks: 2 ('e\u0301lan', '\ufeffthe')",
    ]
    many = b"".join(lines(f"w{i}") for i in range(600))
    assert problems(
        load_task("files", data_dir=written(tmp_path, train=many, val=many, gen=many)).splits
    ) == ["lines of gen that are in train, too: 600 of 600"]


def test_training_begins_with_a_warning(tmp_path, capsys):
    written(tmp_path / "data", train=lines("newt", "cat"), val=lines("cat"), gen=lines("newt"))
    model = ModelConfig(depth=1, width=8, heads=1)
    config = RunConfig(
        task="files", data_dir=str(tmp_path / "data"), model=model, steps=1, batch_size=1, threads=1
    )
    train(config, tmp_path / "run")
    assert "warning: lines of gen that are in train, too: 1 of 1" in capsys.readouterr().err
