#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| seriatim_fuzz::name::name(input));
