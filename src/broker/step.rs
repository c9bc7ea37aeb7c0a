//! [`step`]: the heart.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::mem;

use smallvec::{SmallVec, smallvec};

use super::admission::Standing;
use super::effect::{CloseReason, Conns, Effect};
use super::event::{ConnId, Event, Millis};
use super::origin::Origin;
use super::state::{Conn, Drain, FOLDED_BYTE_WORK, Phase, State};
use crate::protocol::{Login, Message, Name, NameError, Password, Refusal, Reply, Request, Text};

/// Takes one event and returns what is to be done about it.
///
/// Total: no event panics, in whatever order events come; one about a connection that is not there changes nothing.
/// Deterministic: the same events give the same effects (guarantee G12).
///
/// ```
/// use seriatim::{ConnId, Effect, Event, Limits, Origin, State, step};
/// use seriatim::protocol::{Name, Reply, Request, Text};
///
/// let mut state = State::new(Limits::default(), [0, 0]);
/// let al = ConnId(1);
/// assert!(step(&mut state, Event::Connected(al, Origin::Exempt)).is_empty());
/// let login = Request::Plain(Text::try_from("al")?);
/// let effects = step(&mut state, Event::Requested(al, login));
/// assert_eq!(effects, [Effect::Send { to: [al].into_iter().collect(), reply: Reply::Welcome(Name::parse("al")?) }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn step(state: &mut State, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    step_into(state, event, &mut effects);
    effects
}

/// As [`step`], but appends to a list that the caller keeps.
pub fn step_into(state: &mut State, event: Event, effects: &mut Vec<Effect>) {
    match event {
        Event::Ticked(now) => ticked(state, now, effects),
        Event::Connected(conn, origin) => connected(state, conn, origin, effects),
        Event::Secured(conn) => secured(state, conn),
        Event::Certified(conn, name) => certified(state, conn, name),
        Event::Requested(conn, request) => requested(state, conn, request, effects),
        Event::PasswordVerified(conn, is_right) => password_verified(state, conn, is_right, effects),
        Event::InputEnded(conn) => input_ended(state, conn, effects),
        Event::OutboxOverflowed(conn) => end(state, conn, CloseReason::TooSlow, effects),
        Event::Disconnected(conn) => disconnected(state, conn, effects),
        Event::AccountsChanged(names) => {
            state.accounts.clear();
            state.accounts.extend(names);
        }
        Event::Kicked(conn) => end(state, conn, CloseReason::Kicked, effects),
        Event::Banned(origin) => banned(state, origin, effects),
        Event::Unbanned(origin) => state.admission.ban(origin, false),
        Event::ShutdownRequested => shutdown_requested(state, CloseReason::ShuttingDown, effects),
        Event::RestartRequested => shutdown_requested(state, CloseReason::Restarting, effects),
    }
}

fn ticked(state: &mut State, now: Millis, effects: &mut Vec<Effect>) {
    state.now = state.now.max(now);
    let now = state.now;
    while let Some(conn) = state.logins.pop(now) {
        if state.conns.get(conn).is_some_and(|conn| conn.phase.is_login()) {
            end(state, conn, CloseReason::LoginTimeout, effects);
        }
    }
    while state.drain == Drain::No
        && let Some(conn) = state.next_idle()
    {
        end(state, conn, CloseReason::Idle, effects);
    }
    while let Some(conn) = state.refusals.pop(now).or_else(|| state.flushes.pop(now)) {
        if state.conns.contains_key(conn) {
            abort(state, conn, effects);
        }
    }
    if state.drain.deadline().is_some_and(|deadline| deadline <= now) {
        state.drain = Drain::Aborted;
        for conn in state.conns_where(|_| true) {
            abort(state, conn, effects);
        }
    }
    state.admission.forget(now);
}

fn connected(state: &mut State, conn: ConnId, origin: Origin, effects: &mut Vec<Effect>) {
    if state.conns.contains_key(conn) {
        return;
    }
    state.counters.connected += 1;
    if state.drain != Drain::No {
        state.conns.insert(conn, Conn::new(Phase::Greeting, false, Standing::Uncounted));
        return match state.drain {
            Drain::Aborted => abort(state, conn, effects),
            _ => end(state, conn, state.farewell, effects),
        };
    }
    match state.admission.admit(origin, &state.limits, state.now) {
        Ok(standing) => state.conns.insert(conn, Conn::new(Phase::Greeting, true, standing)),
        Err(reason) => return refuse(state, conn, reason, effects),
    }
    let deadline = state.now.plus(state.limits.login_ms_max);
    let conns = &state.conns;
    state
        .logins
        .push(deadline, conn, conns.len(), |conn| conns.get(conn).is_some_and(|conn| conn.phase.is_login()));
}

/// Does not let a connection in, and says why; or not even that, if too many are being told just now (guarantee G9).
fn refuse(state: &mut State, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
    state.counters.close(reason);
    let standing = state.admission.refuse(&state.limits);
    state.conns.insert(conn, Conn::new(Phase::Closing, true, standing));
    if standing != Standing::Refused {
        state.counters.dropped += 1;
        return effects.push(Effect::Abort(conn));
    }
    let deadline = state.now.plus(state.limits.refusal_ms_max);
    let conns = &state.conns;
    state.refusals.push(deadline, conn, conns.len(), |conn| conns.contains_key(conn));
    close(conn, reason, effects);
}

fn requested(state: &mut State, conn: ConnId, request: Request, effects: &mut Vec<Effect>) {
    let Some(known) = state.conns.get_mut(conn) else { return };
    match &known.phase {
        Phase::Closing => {} // it sent this before it could know
        Phase::Greeting => greet(state, conn, &request, effects),
        // The shell was to keep it. It cannot wait here, and nothing is lost without a word.
        Phase::Verifying(_) => refuse_line(state, conn, Refusal::BadName(NameError::NotLoggedIn), effects),
        Phase::Active(name) => {
            let from = name.clone();
            known.hear(state.now);
            let to = match &request {
                Request::Message(message) => known.route(message.list(), *state.names_freed),
                _ => None,
            };
            obey(state, conn, from, to, request, effects);
        }
    }
}

fn secured(state: &mut State, conn: ConnId) {
    if let Some(conn) = state.conns.get_mut(conn) {
        conn.secured = true;
    }
}

fn certified(state: &mut State, conn: ConnId, name: Name) {
    if state.conns.get(conn).is_some_and(|conn| conn.phase == Phase::Greeting) {
        state.certified.insert(conn, name);
    }
}

/// A line from a connection without a name: it is taken for a login.
fn greet(state: &mut State, conn: ConnId, request: &Request, effects: &mut Vec<Effect>) {
    let login = Login::parse(request).and_then(|login| {
        allow(state, conn, &login)?;
        Ok(login)
    });
    match login {
        // A shutdown waits for nobody's password.
        Ok(Login { password: Some(_), .. }) if state.drain != Drain::No => {
            end(state, conn, state.farewell, effects);
        }
        Ok(Login { name, password: Some(password) }) => {
            effects.push(verify(state, conn, name, password));
        }
        Ok(Login { name, password: None }) => log_in(state, conn, name, effects),
        Err(why) => refuse_line(state, conn, why, effects),
    }
}

/// Whether this login can be tried: who needs a password must have given one, and who does not must not.
fn allow(state: &State, conn: ConnId, Login { name, password }: &Login) -> Result<(), Refusal> {
    let limits = &state.limits;
    let secured = limits.clear_passwords_allowed || state.conns.get(conn).is_some_and(|conn| conn.secured);
    let certified = state.certified.get(&conn) == Some(name);
    match (state.accounts.contains(name), password) {
        (_, None) if certified => Ok(()),
        (true, None) => Err(Refusal::NameReserved(name.clone())),
        (true, Some(_)) if !secured => Err(Refusal::Unencrypted),
        (false, Some(_)) => Err(Refusal::NoSuchAccount(name.clone())),
        (false, None) if limits.account_required => Err(Refusal::AccountRequired),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// Has the password verified, which takes time.
fn verify(state: &mut State, conn: ConnId, name: Name, password: Password) -> Effect {
    let mut at = state.now;
    if let Some(known) = state.conns.get_mut(conn) {
        known.phase = Phase::Verifying(name.clone());
        if let Standing::Admitted(origin) = known.standing {
            at = state.guesses.ready_at(origin, state.now);
        }
    }
    Effect::VerifyPassword { conn, name, password, at }
}

fn password_verified(state: &mut State, conn: ConnId, is_right: bool, effects: &mut Vec<Effect>) {
    let Some(known) = state.conns.get_mut(conn) else { return };
    let Phase::Verifying(name) = &known.phase else { return };
    let (name, standing) = (name.clone(), known.standing);
    known.phase = Phase::Greeting;
    if is_right {
        return log_in(state, conn, name, effects);
    }
    if let Standing::Admitted(origin) = standing {
        state.guesses.count(origin, state.now);
    }
    refuse_line(state, conn, Refusal::WrongPassword(name), effects);
}

/// Lets it hold the name, if nobody else does.
fn log_in(state: &mut State, conn: ConnId, name: Name, effects: &mut Vec<Effect>) {
    let reply = match state.take_name(conn, name.clone()) {
        Ok(()) => Reply::Welcome(name),
        Err(taken) => Reply::Error(Refusal::NameTaken(taken)),
    };
    answer(state, conn, reply, effects);
}

/// A line from a peer; and whom it is for, if it is a message and that is known already.
fn obey(
    state: &mut State,
    conn: ConnId,
    from: Name,
    to: Option<Conns>,
    request: Request,
    effects: &mut Vec<Effect>,
) {
    match request {
        Request::Message(message) => deliver(state, conn, from, to, message, effects),
        Request::Ping(token) => effects.push(reply(conn, Reply::Pong(token))),
        Request::Who => effects.push(reply(conn, Reply::Peers(state.peer_names()))),
        Request::Help => effects.push(reply(conn, Reply::Help)),
        Request::Quit => end(state, conn, CloseReason::Quit, effects),
        Request::Plain(_) => refuse_line(state, conn, Refusal::NoColon, effects),
        Request::Malformed(error) => refuse_line(state, conn, Refusal::Line(error), effects),
    }
}

/// To everybody it names who is here, once; and word to the sender of those who are not (guarantee G5).
fn deliver(
    state: &mut State,
    conn: ConnId,
    from: Name,
    to: Option<Conns>,
    message: Message,
    effects: &mut Vec<Effect>,
) {
    let (to, missing) = match to {
        Some(to) => (to, Vec::new()),
        None => look_up(state, conn, &message),
    };
    state.counters.messages += 1;
    if !to.is_empty() {
        state.counters.deliveries += to.len() as u64;
        effects.push(Effect::Send { to, reply: Reply::From { from, text: message.into_text() } });
    }
    if !missing.is_empty() {
        refuse_line(state, conn, Refusal::NoSuchPeer(missing), effects);
    }
}

/// Who holds the names that a message is for, each once, and those of the names that nobody holds.
fn look_up(state: &mut State, conn: ConnId, message: &Message) -> (Conns, Vec<Text>) {
    let mut to = Conns::new();
    let mut missing: SmallVec<[(Cow<'_, str>, &str); 1]> = SmallVec::new();
    for written in message.recipients() {
        *state.work += if written.is_ascii() { 1 } else { FOLDED_BYTE_WORK * written.len() as u64 };
        let key = Name::key_of(written);
        match key.as_ref().and_then(|key| state.holder_of_key(key)) {
            Some(holder) if to.contains(&holder) => {}
            Some(holder) => to.push(holder),
            // What is no name is compared in lower case, whatever its letters.
            None => missing.push((key.unwrap_or_else(|| Cow::Owned(written.to_lowercase())), written)),
        }
    }
    if missing.len() > 1 {
        let mut seen = state.text_set();
        missing.retain(|(key, _)| seen.insert(mem::take(key)));
    }
    let missing: Vec<Text> = missing.into_iter().map(|(_, written)| message.share(written)).collect();
    if missing.is_empty() {
        state.remember_route(conn, message.list(), &to);
    }
    (to, missing)
}

fn input_ended(state: &mut State, conn: ConnId, effects: &mut Vec<Effect>) {
    if let Some(conn) = state.conns.get_mut(conn) {
        conn.input_open = false;
    }
    match state.drain {
        // Others may still have something for it, and it gets its goodbye with everybody.
        Drain::Inputs(_) => inputs_drained(state, effects),
        Drain::No | Drain::Outputs(_) | Drain::Aborted => end(state, conn, CloseReason::InputEnded, effects),
    }
}

fn disconnected(state: &mut State, conn: ConnId, effects: &mut Vec<Effect>) {
    if state.end_session(conn).is_some() {
        state.counters.lost += 1;
    }
    let Some(Conn { standing, .. }) = state.conns.remove(conn) else {
        return; // it is not there, and whatever follows from its end was said before
    };
    state.admission.leave(standing, &state.limits, state.now);
    match state.drain {
        Drain::No => {}
        Drain::Inputs(_) => inputs_drained(state, effects),
        Drain::Outputs(_) | Drain::Aborted => stop_if_empty(state, effects),
    }
}

/// Ends all sessions from there, and lets nobody in.
fn banned(state: &mut State, origin: Origin, effects: &mut Vec<Effect>) {
    state.admission.ban(origin, true);
    if origin != Origin::Exempt {
        for conn in state.conns_where(|conn| conn.standing == Standing::Admitted(origin)) {
            end(state, conn, CloseReason::Kicked, effects);
        }
    }
}

/// Stop reading, then process all that was read, then say goodbye, then flush (guarantee G10). Whoever waits for its password
/// could hold up everybody else's goodbye, and has said nothing yet that was accepted: it gets its own at once.
fn shutdown_requested(state: &mut State, farewell: CloseReason, effects: &mut Vec<Effect>) {
    if state.drain != Drain::No {
        return;
    }
    state.farewell = farewell;
    state.drain = Drain::Inputs(state.now.plus(state.limits.drain_ms_max));
    effects.extend(state.conns_where(|conn| conn.input_open).into_iter().map(Effect::StopReading));
    for conn in state.conns_where(|conn| matches!(conn.phase, Phase::Verifying(_))) {
        end(state, conn, farewell, effects);
    }
    inputs_drained(state, effects);
}

/// Goodbye to everybody, as soon as all that was read has been processed.
fn inputs_drained(state: &mut State, effects: &mut Vec<Effect>) {
    let Drain::Inputs(deadline) = state.drain else { return };
    // A closing connection has nothing more to say that counts.
    if state.conns.values().any(|conn| conn.input_open && conn.phase != Phase::Closing) {
        return;
    }
    state.drain = Drain::Outputs(deadline);
    for conn in state.conns_where(|conn| conn.phase != Phase::Closing) {
        end(state, conn, state.farewell, effects);
    }
    stop_if_empty(state, effects);
}

fn stop_if_empty(state: &State, effects: &mut Vec<Effect>) {
    if state.conns.is_empty() {
        effects.push(Effect::Stop);
    }
}

/// Ends a connection's session, if it is not over yet: frees its name, says why, closes.
fn end(state: &mut State, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
    if state.end_session(conn).is_none() {
        return;
    }
    state.counters.close(reason);
    close(conn, reason, effects);
    inputs_drained(state, effects); // it may have been the last to be waited for
}

/// Says why, and closes.
fn close(conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
    effects.extend(reason.farewell().map(|farewell| reply(conn, Reply::Bye(farewell))));
    effects.push(Effect::Close { conn, reason });
}

/// Gives a connection up, with whatever waits for it.
fn abort(state: &mut State, conn: ConnId, effects: &mut Vec<Effect>) {
    state.counters.aborted += 1;
    effects.push(Effect::Abort(conn));
}

/// Answers a line, and counts what it comes to.
fn answer(state: &mut State, to: ConnId, answer: Reply, effects: &mut Vec<Effect>) {
    state.counters.answer(&answer);
    effects.push(reply(to, answer));
}

fn reply(to: ConnId, reply: Reply) -> Effect {
    Effect::Send { to: smallvec![to], reply }
}

/// Answers a line that was not carried out, or not in full.
fn refuse_line(state: &mut State, to: ConnId, why: Refusal, effects: &mut Vec<Effect>) {
    answer(state, to, Reply::Error(why), effects);
}
