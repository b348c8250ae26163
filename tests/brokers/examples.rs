//! The policies in policy/examples, each as it is shipped, with passwords in a file beside it: a device does what its scheme
//! lets it, hears what it is sent, leaves its will, and nothing else, least of all read `$SYS` (S33).

use std::fs;
use std::path::Path;

use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Connect, FAILURE_3, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    every_example_is_tried,
    the_reference_deployment_example,
    azure_iot_hub_example,
    lwm2m_example,
    onem2m_example,
    sparkplug_b_example,
    aws_shadow_example,
    home_automation_example,
];

/// Beside the examples: the deployment's own policy, which the package installs among them.
const DEPLOYMENT: &str = "deploy/policy.toml";

/// What a device and its counterpart do under an example.
struct Example {
    file: &'static str,
    device: &'static str,
    /// Who hears the device, and the filter that it subscribes to.
    hears: (&'static str, &'static str),
    can_publish: &'static [&'static str],
    cannot_publish: &'static [&'static str],
    can_subscribe: &'static [&'static str],
    cannot_subscribe: &'static [&'static str],
    /// What somebody sends to the device, on a topic that it subscribed to.
    sent: (&'static str, &'static str),
    /// The device's will: one that it may leave, one that it may not.
    wills: (&'static str, &'static str),
    /// Another user, whose client id is none of the device's.
    other: &'static str,
}

fn the_reference_deployment_example(install: &Install) {
    let example = Example {
        file: DEPLOYMENT,
        device: "dev00001",
        hears: ("mqttservice", "dt/demo/#"),
        can_publish: &["dt/demo/1/dev00001/senml", "dt/demo/2/dev00001/state/x"],
        cannot_publish: &["dt/demo/1/dev00002/senml", "dt/demo/dev00001"],
        can_subscribe: &["cmd/demo/+/dev00001/#"],
        cannot_subscribe: &["cmd/demo/+/dev00002/#", "cmd/demo/#", "dt/demo/#"],
        sent: ("mqttservice", "cmd/demo/1/dev00001/set"),
        wills: ("dt/demo/1/dev00001/gone", "dt/demo/1/dev00002/gone"),
        other: "dev00002",
    };
    example.try_on(install);
}

fn azure_iot_hub_example(install: &Install) {
    let example = Example {
        file: "policy/examples/azure-iot-hub.toml",
        device: "dev00001",
        hears: ("backend", "devices/+/messages/events/#"),
        can_publish: &[
            "devices/dev00001/messages/events/",
            "devices/dev00001/messages/events",
            "devices/dev00001/messages/events/$.ct=application%2Fjson&$.ce=utf-8",
        ],
        cannot_publish: &["devices/dev00002/messages/events/", "$iothub/twin/GET/?$rid=1"],
        can_subscribe: &["devices/dev00001/messages/devicebound/#"],
        cannot_subscribe: &["devices/dev00002/messages/devicebound/#", "devices/#", "$iothub/methods/POST/#"],
        sent: ("backend", "devices/dev00001/messages/devicebound/%24.mid=1"),
        wills: ("devices/dev00001/messages/events/gone", "devices/dev00002/messages/events/gone"),
        other: "dev00002",
    };
    example.try_on(install);
}

fn lwm2m_example(install: &Install) {
    let example = Example {
        file: "policy/examples/lwm2m.toml",
        device: "meter00001",
        hears: ("server-acme", "acme/lwm2m/rd/#"),
        can_publish: &["acme/lwm2m/rd/meter00001"],
        cannot_publish: &["zoo/lwm2m/rd/meter00001", "acme/lwm2m/rd/urn:imei:490154203237518", "lwm2m/rd/meter00001"],
        can_subscribe: &["acme/lwm2m/bs/meter00001", "acme/lwm2m/rd/meter00001"],
        cannot_subscribe: &["acme/lwm2m/rd/#", "zoo/lwm2m/rd/meter00001", "+/lwm2m/rd/meter00001"],
        sent: ("server-acme", "acme/lwm2m/rd/meter00001"),
        wills: ("acme/lwm2m/rd/meter00001", "acme/lwm2m/rd/meter00002"),
        other: "meter00002",
    };
    example.try_on(install);
}

fn onem2m_example(install: &Install) {
    let example = Example {
        file: "policy/examples/onem2m.toml",
        device: "Csensor1",
        hears: ("id-in", "/oneM2M/req/+/id-in/#"),
        can_publish: &["/oneM2M/req/Csensor1/id-in/json"],
        cannot_publish: &["/oneM2M/req/Csensor2/id-in/json", "oneM2M/req/Csensor1/id-in/json"],
        can_subscribe: &["/oneM2M/req/+/Csensor1/#", "/oneM2M/resp/Csensor1/+/#"],
        cannot_subscribe: &["/oneM2M/req/+/id-in/#", "/oneM2M/resp/Csensor2/+/#", "/oneM2M/#"],
        sent: ("id-in", "/oneM2M/resp/Csensor1/id-in/json"),
        wills: ("/oneM2M/req/Csensor1/id-in/cbor", "/oneM2M/req/Csensor2/id-in/cbor"),
        other: "Csensor2",
    };
    example.try_on(install);
}

fn sparkplug_b_example(install: &Install) {
    let example = Example {
        file: "policy/examples/sparkplug-b.toml",
        device: "press",
        hears: ("scada", "spBv1.0/#"),
        can_publish: &["spBv1.0/plant1/NBIRTH/press", "spBv1.0/plant1/DDATA/press/motor"],
        cannot_publish: &["spBv1.0/plant2/NDATA/press", "spBv1.0/plant1/DDATA/oven/motor", "spBv1.0/STATE/scada"],
        can_subscribe: &["spBv1.0/plant1/NCMD/press", "spBv1.0/plant1/DCMD/press/#", "spBv1.0/STATE/scada"],
        cannot_subscribe: &["spBv1.0/plant1/DCMD/#", "spBv1.0/plant2/NCMD/press", "spBv1.0/#"],
        sent: ("scada", "spBv1.0/plant1/DCMD/press/motor"),
        wills: ("spBv1.0/plant1/NDEATH/press", "spBv1.0/plant1/NDEATH/oven"),
        other: "oven",
    };
    example.try_on(install);
}

fn aws_shadow_example(install: &Install) {
    let example = Example {
        file: "policy/examples/aws-shadow.toml",
        device: "thing00001",
        hears: ("shadow-service", "$aws/things/+/shadow/#"),
        can_publish: &["$aws/things/thing00001/shadow/update", "$aws/things/thing00001/shadow/name/lamp/get"],
        cannot_publish: &["$aws/things/thing00002/shadow/update", "$aws/things/thing00001/shadow/update/accepted"],
        can_subscribe: &["$aws/things/thing00001/shadow/update/delta", "$aws/things/thing00001/shadow/get/+"],
        cannot_subscribe: &["$aws/things/thing00002/shadow/update/delta", "$aws/#", "$aws/things/+/shadow/get/+"],
        sent: ("shadow-service", "$aws/things/thing00001/shadow/update/delta"),
        wills: ("$aws/things/thing00001/shadow/update", "$aws/things/thing00002/shadow/update"),
        other: "thing00002",
    };
    example.try_on(install);
}

fn home_automation_example(install: &Install) {
    let example = Example {
        file: "policy/examples/home-automation.toml",
        device: "tasmota_A1B2C3",
        hears: ("homeassistant", "tele/#"),
        can_publish: &["tele/tasmota_A1B2C3/SENSOR", "tele/tasmota_A1B2C3/STATE"],
        cannot_publish: &["tele/tasmota_D4E5F6/SENSOR", "zigbee2mqtt/lamp/set", "homeassistant/status"],
        can_subscribe: &["cmnd/tasmota_A1B2C3/#", "cmnd/tasmotas/#"],
        cannot_subscribe: &["cmnd/#", "cmnd/tasmota_D4E5F6/#", "zigbee2mqtt/#", "cmnd/tasmota_A1B2C3_fb/#"],
        sent: ("homeassistant", "cmnd/tasmota_A1B2C3/POWER"),
        wills: ("tele/tasmota_A1B2C3/LWT", "tele/tasmota_D4E5F6/LWT"),
        other: "homeassistant",
    };
    example.try_on(install);
}

/// None is shipped that no test above tries.
fn every_example_is_tried(_: &Install) {
    let mut shipped: Vec<String> = fs::read_dir(root().join("policy/examples"))
        .expect("the examples")
        .map(|entry| entry.expect("an example").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    shipped.sort();
    let tried = include_str!("examples.rs");
    for name in &shipped {
        assert!(tried.contains(&format!("file: \"policy/examples/{name}\"")), "{name}");
    }
    assert_eq!(shipped.len(), 6, "{shipped:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Example {
    fn try_on(&self, install: &Install) {
        let include = "include = [\"users.d/*.toml\"]";
        let text = fs::read_to_string(root().join(self.file)).expect(self.file);
        assert!(text.contains(include), "{}", self.file);
        let passwords: String = [self.device, self.other, self.hears.0, self.sent.0]
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|user| format!("[users.\"{user}\"]\npassword = \"{{password}}\"\n"))
            .collect();
        let policy = text.replace(include, "include = [\"passwords.toml\"]");
        install.with(&Setup::policy(&policy).file("passwords.toml", &passwords), |broker| {
            for version in [V31, V311, V5] {
                self.publishes(broker, version);
                self.subscribes(broker, version);
                self.leaves_its_will(broker, version);
            }
            self.is_nobody_else(broker);
        });
    }

    fn publishes(&self, broker: &Broker, version: u8) {
        let mut hears = broker.client(V5, self.hears.0, self.hears.0);
        assert_eq!(hears.subscribe(self.hears.1), Ok(1), "{}", self.hears.1);
        let mut device = broker.client(version, self.device, self.device);
        for topic in self.can_publish {
            assert_eq!(device.publish(&Publish::new(*topic, "x")), Ok(0), "{topic}");
        }
        assert_eq!(hears.topics(), self.can_publish, "{}", self.hears.1);
        for topic in self.cannot_publish {
            let refused = if version == V5 { NOT_AUTHORIZED } else { 0 };
            assert_eq!(device.publish(&Publish::new(*topic, "x")), Ok(refused), "{topic}");
        }
        assert_eq!(hears.topics(), [""; 0]);
    }

    fn subscribes(&self, broker: &Broker, version: u8) {
        let mut device = broker.client(version, self.device, self.device);
        for filter in self.can_subscribe {
            assert_eq!(device.subscribe(filter), Ok(1), "{filter}");
        }
        // 3.1 knows no refusal in a SUBACK; what is delivered shows it.
        let refused = [1, FAILURE_3, NOT_AUTHORIZED][usize::from(version - V31)];
        for filter in
            self.cannot_subscribe.iter().copied().chain(["#", "$SYS/#", "$SYS/broker/version", "+/broker/version"])
        {
            assert_eq!(device.subscribe(filter), Ok(refused), "{filter}");
        }
        // The broker publishes `$SYS` retained, which a subscription would have brought at once (S33).
        assert_eq!(device.topics(), [""; 0]);
        let (user, topic) = self.sent;
        let mut sender = broker.client(V5, user, user);
        assert_eq!(sender.publish(&Publish::new(topic, "x")), Ok(0), "{topic}");
        let heard = device.topics();
        assert!(heard.iter().all(|heard| heard == topic) && !heard.is_empty(), "{heard:?}");
    }

    fn leaves_its_will(&self, broker: &Broker, version: u8) {
        let mut hears = broker.client(V5, self.hears.0, self.hears.0);
        assert_eq!(hears.subscribe(self.hears.1), Ok(1));
        let (allowed, denied) = self.wills;
        for will in [denied, allowed] {
            let connect = Connect::new(version, self.device).username(self.device).password(PASSWORD);
            drop(broker.client_with(&connect.will(Publish::new(will, "gone"))));
        }
        // Both are due in the order of the ends of their connections.
        assert_eq!(hears.next_message().topic, allowed);
        assert_eq!(hears.topics(), [""; 0]);
    }

    fn is_nobody_else(&self, broker: &Broker) {
        let connect = |version, id: &str| Connect::new(version, id).username(self.device);
        for version in [V311, V5] {
            broker.assert_refused(&connect(version, self.other).password(PASSWORD));
            broker.assert_refused(&connect(version, self.device).password("wrong"));
            broker.assert_refused(&connect(version, self.device));
            broker.assert_refused(&Connect::new(version, "anybody"));
        }
    }
}
