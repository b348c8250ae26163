//! The promises of the reference deployment.

use crate::support::broker::{Broker, Install};
use crate::support::mqtt::{FAILURE_3, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    a_device_reports_and_the_service_hears_it,
    a_device_does_not_speak_for_another,
    the_service_commands_a_device_and_no_other_hears_it,
    the_operator_does_all_but_what_is_denied,
    the_documented_commands_need_no_client_id,
];

/// A topic of the deployment that no other test and no other protocol version uses.
fn topic(kind: &str, test: &str, version: u8, device: &str) -> String {
    format!("{kind}/demo/{test}-{version}/{device}/senml")
}

fn each_version(install: &Install, test: impl Fn(&Broker, u8)) {
    for version in [V31, V311, V5] {
        test(install.reference(), version);
    }
}

fn a_device_reports_and_the_service_hears_it(install: &Install) {
    each_version(install, |broker, version| {
        let mut service = broker.client(version, "mqttservice", "mqttservice-report");
        assert_eq!(service.subscribe("dt/demo/#"), Ok(1));
        let mut device = broker.client(version, "dev00001", "dev00001");
        let report = topic("dt", "report", version, "dev00001");
        for qos in 0..=2 {
            let code = device.publish(&Publish::new(&report, [b'0' + qos]).qos(qos));
            assert_eq!(code, Ok(0), "QoS {qos}");
        }
        let heard = service.received().into_iter().filter(|message| message.topic == report);
        assert_eq!(heard.map(|message| message.payload).collect::<Vec<_>>(), [b"0", b"1", b"2"]);
    });
}

fn a_device_does_not_speak_for_another(install: &Install) {
    each_version(install, |broker, version| {
        let mut service = broker.client(version, "mqttservice", "mqttservice-forged");
        let forged = topic("dt", "forged", version, "dev00002");
        assert_eq!(service.subscribe(&forged), Ok(1));
        let mut device = broker.client(version, "dev00001", "dev00001-forged");
        let code = device.publish(&Publish::new(&forged, "x"));
        assert_eq!(code, Ok(if version == V5 { NOT_AUTHORIZED } else { 0 }));
        assert_eq!(service.topics(), [""; 0]);
    });
}

fn the_service_commands_a_device_and_no_other_hears_it(install: &Install) {
    each_version(install, |broker, version| {
        let command = topic("cmd", "order", version, "dev00001");
        let mut device = broker.client(version, "dev00001", "dev00001-order");
        assert_eq!(device.subscribe("cmd/demo/+/dev00001/#"), Ok(1));
        let mut other = broker.client(version, "dev00002", "dev00002-order");
        // 3.1 knows no refusal in a SUBACK; what is delivered shows it.
        let refused = [1, FAILURE_3, NOT_AUTHORIZED][usize::from(version - V31)];
        for filter in ["cmd/demo/+/dev00001/#", "cmd/demo/#", "#", &command] {
            assert_eq!(other.subscribe(filter), Ok(refused), "{filter}");
        }
        let mut service = broker.client(version, "mqttservice", "mqttservice-order");
        assert_eq!(service.publish(&Publish::new(&command, "x")), Ok(0));
        assert!(device.topics().contains(&command));
        assert_eq!(other.topics(), [""; 0]);
    });
}

fn the_operator_does_all_but_what_is_denied(install: &Install) {
    each_version(install, |broker, version| {
        let mut operator = broker.client(version, "mqttuser", "mqttuser");
        let plant = format!("plant/{version}/#");
        assert_eq!(operator.subscribe(&plant), Ok(1));
        assert_eq!(operator.publish(&Publish::new(format!("plant/{version}/start"), "x")), Ok(0));
        let code = operator.publish(&Publish::new(format!("plant/{version}/stop"), "x"));
        assert_eq!(code, Ok(if version == V5 { NOT_AUTHORIZED } else { 0 }));
        assert_eq!(operator.topics(), [format!("plant/{version}/start")]);
    });
}

/// mosquitto_pub and mosquitto_sub without `-i` send an empty id: the broker makes one, which S4 admits.
fn the_documented_commands_need_no_client_id(install: &Install) {
    let broker = install.reference();
    for version in [V311, V5] {
        let report = topic("dt", "no-id", version, "dev00003");
        let mut service = broker.client(version, "mqttservice", "");
        assert_eq!(service.subscribe(&report), Ok(1));
        let mut device = broker.client(version, "dev00003", "");
        assert_eq!(device.publish(&Publish::new(&report, "x")), Ok(0));
        assert_eq!(service.topics(), [report]);
    }
}
