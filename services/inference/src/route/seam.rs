//! Another model goes on: what it is told.

use crate::model::{Message, Request, Role};

const GO_ON: &str = "Your answer broke off where the last message ends. Go on from exactly there: do not repeat any of it, do \
                     not greet, do not explain, begin with the very next character.";

/// The request with what was said so far, and the wish to go on from it.
pub(super) fn going_on(request: &Request, said: &str) -> Request {
    let mut request = request.clone();
    if !said.is_empty() {
        request.messages.push(Message::new(Role::Assistant, said));
        request.messages.push(Message::new(Role::User, GO_ON));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_model_sees_what_was_said() {
        let request = Request { messages: vec![Message::new(Role::User, "count")], ..Request::default() };
        let next = going_on(&request, "one, tw");
        let said: Vec<_> = next.messages.iter().map(|m| (m.role, m.text.as_str())).collect();
        assert_eq!(said, [(Role::User, "count"), (Role::Assistant, "one, tw"), (Role::User, GO_ON)]);
        assert_eq!(going_on(&request, "").messages, request.messages);
    }
}
