#![no_main]

libfuzzer_sys::fuzz_target!(|input: Vec<seriatim_fuzz::step::Fact>| seriatim_fuzz::step::step(&input));
