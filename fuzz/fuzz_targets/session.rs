#![no_main]

libfuzzer_sys::fuzz_target!(|input: seriatim_fuzz::session::Traffic| seriatim_fuzz::session::session(&input));
