//! How long a round of talk takes, stage by stage: `cargo bench -p seriatim-bench`.

#![forbid(unsafe_code)]

use divan::Bencher;
use divan::counter::ItemsCount;
use seriatim_bench::cost::stage::Stage;
use seriatim_bench::cost::talk::{Kind, LINES_PER_READ, Talk};

const KINDS: [Kind; 2] = [Kind::Pairs, Kind::FanOut];

fn main() {
    divan::main();
}

#[divan::bench(args = KINDS)]
fn parse(bencher: Bencher<'_, '_>, kind: Kind) {
    rounds(bencher, kind, Stage::Parse);
}

#[divan::bench(args = KINDS)]
fn step(bencher: Bencher<'_, '_>, kind: Kind) {
    rounds(bencher, kind, Stage::Step);
}

#[divan::bench(args = KINDS)]
fn render(bencher: Bencher<'_, '_>, kind: Kind) {
    rounds(bencher, kind, Stage::Render);
}

#[divan::bench(args = KINDS)]
fn whole(bencher: Bencher<'_, '_>, kind: Kind) {
    rounds(bencher, kind, Stage::Whole);
}

fn rounds(bencher: Bencher<'_, '_>, kind: Kind, stage: Stage) {
    let talk = Talk::new(kind, LINES_PER_READ);
    bencher.counter(ItemsCount::new(talk.lines)).bench_local(stage.prepare(&talk));
}
