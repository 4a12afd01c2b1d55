//! Who may speak where: the accounts and permission lists of the bus, derived from [`crate::subject`].
//!
//! JetStream lives in CORE, agents in AGENTS, the holders of join tokens in ENROL. Agents reach the streams only through service imports, so
//! that a reply subject of their choice lands in their own account and never in a stream. An agent is named by its own nkey through the
//! server's `{{subject()}}` template: even a stolen signing key cannot speak for an agent that exists.

use super::claims::{Account, Allow, Link, Scope, UserLimits};
use super::nkey::NkeyPublic;
use crate::limits::AGENT_PAYLOAD_MAX;
use crate::subject;

/// The server's template for the nkey of whoever is connected.
const ME: &str = "{{subject()}}";

/// Public keys of the bus's accounts.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    /// JetStream and the controllers.
    pub core: NkeyPublic,
    /// Signs controllers.
    pub core_signer: NkeyPublic,
    /// Agents.
    pub agents: NkeyPublic,
    /// Signs agents, and nothing but agents.
    pub agents_signer: NkeyPublic,
    /// Holders of join tokens.
    pub enrol: NkeyPublic,
    /// Signs holders of join tokens, and nothing else.
    pub enrol_signer: NkeyPublic,
    /// The server's own account.
    pub system: NkeyPublic,
    /// Signs users of the system account.
    pub system_signer: NkeyPublic,
}

/// The account of streams and controllers.
pub fn core(keys: &AccountKeys, jetstream_bytes: i64) -> Account {
    let orders = subject::direct_get(subject::ORDERS_STREAM, subject::ORDERS_FILTER);
    let bundles = subject::direct_get(subject::BUNDLES_STREAM, subject::BUNDLES_FILTER);
    let mut links: Vec<Link> = [
        subject::EVENTS_FILTER,
        subject::RPC_FILTER,
        subject::ENROL_FILTER,
        &orders,
        &bundles,
    ]
    .into_iter()
    .map(|s| Link::ExportService(s.to_owned()))
    .collect();
    links.extend(
        [
            subject::WAKE_FILTER,
            subject::MARK_FILTER,
            subject::CONTROL_FILTER,
        ]
        .map(|s| Link::ExportStream(s.to_owned())),
    );
    links.push(Link::ImportStream(subject::LOG_FILTER.to_owned(), keys.agents));
    let name = "CORE".to_owned();
    let jetstream_bytes = Some(jetstream_bytes);
    let signing_keys = vec![keys.core_signer];
    Account {
        name,
        key: keys.core,
        signing_keys,
        scopes: vec![],
        links,
        jetstream_bytes,
        revocations: [].into(),
    }
}

/// The account of agents.
pub fn agents(keys: &AccountKeys) -> Account {
    agents_of(keys.core, keys.agents, keys.agents_signer)
}

/// The account of agents, by the keys that it needs: what a controller signs anew to revoke one of them.
pub fn agents_of(core: NkeyPublic, account: NkeyPublic, signer: NkeyPublic) -> Account {
    let orders = subject::direct_get(subject::ORDERS_STREAM, subject::ORDERS_FILTER);
    let bundles = subject::direct_get(subject::BUNDLES_STREAM, subject::BUNDLES_FILTER);
    let mut links: Vec<Link> = [subject::EVENTS_FILTER, subject::RPC_FILTER, &orders, &bundles]
        .into_iter()
        .map(|s| Link::ImportService(s.to_owned(), core))
        .collect();
    links.extend(
        [
            subject::WAKE_FILTER,
            subject::MARK_FILTER,
            subject::CONTROL_FILTER,
        ]
        .map(|s| Link::ImportStream(s.to_owned(), core)),
    );
    links.push(Link::ExportStream(subject::LOG_FILTER.to_owned()));
    let limits = UserLimits {
        subscriptions: 16,
        payload: i64::try_from(AGENT_PAYLOAD_MAX).unwrap_or(i64::MAX),
    };
    let scope = Scope {
        key: signer,
        role: "agent".to_owned(),
        allow: agent_scope(),
        limits,
    };
    let name = "AGENTS".to_owned();
    Account {
        name,
        key: account,
        signing_keys: vec![],
        scopes: vec![scope],
        links,
        jetstream_bytes: None,
        revocations: [].into(),
    }
}

/// The account of those who hold a join token and nothing else.
pub fn enrol(keys: &AccountKeys) -> Account {
    let links = vec![Link::ImportService(subject::ENROL_FILTER.to_owned(), keys.core)];
    let limits = UserLimits {
        subscriptions: 4,
        payload: 64 << 10,
    };
    let own = subject::Own::of(ME);
    let allow = Allow {
        publish: vec![own.enrol],
        subscribe: vec![own.inbox],
        responses: None,
    };
    let scope = Scope {
        key: keys.enrol_signer,
        role: "join".to_owned(),
        allow,
        limits,
    };
    let name = "ENROL".to_owned();
    Account {
        name,
        key: keys.enrol,
        signing_keys: vec![],
        scopes: vec![scope],
        links,
        jetstream_bytes: None,
        revocations: [].into(),
    }
}

/// The server's own account.
pub fn system(keys: &AccountKeys) -> Account {
    let name = "SYS".to_owned();
    let signing_keys = vec![keys.system_signer];
    Account {
        name,
        key: keys.system,
        signing_keys,
        scopes: vec![],
        links: vec![],
        jetstream_bytes: None,
        revocations: [].into(),
    }
}

/// What an agent may do; `{{subject()}}` stands for its own nkey.
pub fn agent_scope() -> Allow {
    let own = subject::Own::of(ME);
    Allow {
        publish: vec![
            own.events,
            own.requests,
            own.log,
            subject::direct_get(subject::ORDERS_STREAM, &own.order),
            subject::direct_get(subject::BUNDLES_STREAM, subject::BUNDLES_FILTER),
        ],
        subscribe: vec![
            own.inbox,
            own.wake,
            own.mark,
            own.control,
            subject::CONTROL_ALL.to_owned(),
        ],
        responses: None,
    }
}

/// What a controller may do in CORE: the three streams, its consumers, and the subjects of the protocol.
pub fn controller_allow(inbox: &str) -> Allow {
    let streams = [
        subject::ORDERS_STREAM,
        subject::EVENTS_STREAM,
        subject::BUNDLES_STREAM,
    ];
    let mut publish: Vec<String> = streams
        .iter()
        .flat_map(|stream| {
            ["CREATE", "UPDATE", "INFO", "MSG.GET"].map(|verb| format!("$JS.API.STREAM.{verb}.{stream}"))
        })
        .collect();
    let events = subject::EVENTS_STREAM;
    publish.extend([
        subject::SERVER_INFO.to_owned(),
        format!("$JS.API.DIRECT.GET.{}", subject::ORDERS_STREAM),
        format!("$JS.API.DIRECT.GET.{}.>", subject::ORDERS_STREAM),
        format!("$JS.API.DIRECT.GET.{}.>", subject::BUNDLES_STREAM),
        format!("$JS.API.CONSUMER.CREATE.{events}.>"),
        format!("$JS.API.CONSUMER.DURABLE.CREATE.{events}.>"),
        format!("$JS.API.CONSUMER.INFO.{events}.>"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{events}.>"),
        format!("$JS.ACK.{events}.>"),
        format!("$JS.ACK.*.*.{events}.>"),
        subject::ORDERS_FILTER.to_owned(),
        subject::BUNDLES_FILTER.to_owned(),
        subject::MARK_FILTER.to_owned(),
        subject::CONTROL_FILTER.to_owned(),
        subject::DIRTY_FILTER.to_owned(),
    ]);
    let subscribe = vec![
        format!("{inbox}.>"),
        subject::RPC_FILTER.to_owned(),
        subject::ENROL_FILTER.to_owned(),
        subject::LOG_FILTER.to_owned(),
        subject::CONTROL_FILTER.to_owned(),
        subject::DIRTY_FILTER.to_owned(),
    ];
    // Requests of agents are answered on reply subjects that the server makes up for each; one answer each, within 30 seconds.
    Allow {
        publish,
        subscribe,
        responses: Some((1, 30)),
    }
}

/// Where a server takes account claims that are newer than its own.
pub const CLAIMS_UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

/// Where a server tells the claims of an account.
pub fn claims_lookup(account: &str) -> String {
    format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP")
}

/// What the system user of a controller may do: read and push account claims, to revoke agents.
pub fn system_allow(inbox: &str) -> Allow {
    Allow {
        publish: vec![CLAIMS_UPDATE.to_owned(), claims_lookup("*")],
        subscribe: vec![format!("{inbox}.>")],
        responses: None,
    }
}
