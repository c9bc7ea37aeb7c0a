#![no_main]

libfuzzer_sys::fuzz_target!(|input: seriatim_fuzz::line::Reads| seriatim_fuzz::line::line(&input));
