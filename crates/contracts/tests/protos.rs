//! The house rules of `proto/` that matter most, held without buf: comments everywhere, a request and an answer of its own per RPC,
//! prefixed enum values from an UNSPECIFIED zero, and an idempotency key on every mutation.

use std::collections::BTreeSet;

use contracts::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

fn our_files() -> Vec<FileDescriptorProto> {
    let all = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build writes it");
    let ours = all.file.into_iter().filter(|file| file.package().starts_with("ctms."));
    ours.collect()
}

fn services() -> Vec<ServiceDescriptorProto> {
    our_files().into_iter().flat_map(|file| file.service).collect()
}

fn messages() -> Vec<(String, DescriptorProto)> {
    let of_file = |file: FileDescriptorProto| {
        let package = file.package().to_owned();
        file.message_type.into_iter().map(move |message| (format!(".{package}.{}", message.name()), message))
    };
    our_files().into_iter().flat_map(of_file).collect()
}

fn screaming_snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

#[test]
fn the_four_packages_are_there_each_in_its_folder() {
    let mut packages = BTreeSet::new();
    for file in our_files() {
        let folder = file.package().replace('.', "/");
        assert!(file.name().starts_with(&format!("{folder}/")), "{} holds package {}", file.name(), file.package());
        packages.insert(file.package().to_owned());
    }
    assert_eq!(
        packages.into_iter().collect::<Vec<_>>(),
        ["ctms.epro.v1", "ctms.finance.v1", "ctms.monitor.v1", "ctms.project.v1"]
    );
}

#[test]
fn every_message_field_enum_value_and_rpc_has_a_comment() {
    for file in our_files() {
        let commented: BTreeSet<Vec<i32>> = file
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path.clone())
            .collect();
        for (path, name) in elements(&file) {
            assert!(commented.contains(&path), "{}: {name} has no comment", file.name());
        }
    }
}

/// Path (as in SourceCodeInfo) and name of everything that needs a comment.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let at = |index: usize| i32::try_from(index).expect("a file has few elements");
    let mut elements = Vec::new();
    for (m, message) in file.message_type.iter().enumerate() {
        assert!(message.nested_type.is_empty() && message.enum_type.is_empty(), "keep {} flat", message.name());
        elements.push((vec![4, at(m)], message.name().to_owned()));
        for (f, field) in message.field.iter().enumerate() {
            elements.push((vec![4, at(m), 2, at(f)], format!("{}.{}", message.name(), field.name())));
        }
    }
    for (e, enumeration) in file.enum_type.iter().enumerate() {
        elements.push((vec![5, at(e)], enumeration.name().to_owned()));
        for (v, value) in enumeration.value.iter().enumerate() {
            elements.push((vec![5, at(e), 2, at(v)], value.name().to_owned()));
        }
    }
    for (s, service) in file.service.iter().enumerate() {
        elements.push((vec![6, at(s)], service.name().to_owned()));
        for (r, rpc) in service.method.iter().enumerate() {
            elements.push((vec![6, at(s), 2, at(r)], rpc.name().to_owned()));
        }
    }
    elements
}

#[test]
fn every_rpc_has_a_request_and_an_answer_of_its_own() {
    for service in services() {
        assert!(service.name().ends_with("Service"), "{}", service.name());
        for rpc in &service.method {
            let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
            assert_eq!(last(rpc.input_type()), format!("{}Request", rpc.name()));
            assert_eq!(last(rpc.output_type()), format!("{}Response", rpc.name()));
        }
    }
}

#[test]
fn enum_values_carry_their_prefix_and_zero_is_unspecified() {
    let enums: Vec<EnumDescriptorProto> = our_files().into_iter().flat_map(|file| file.enum_type).collect();
    for enumeration in enums {
        let prefix = screaming_snake(enumeration.name());
        for value in &enumeration.value {
            assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.name());
        }
        let zero = enumeration.value.iter().find(|value| value.number() == 0);
        assert_eq!(zero.map(|value| value.name().to_owned()), Some(format!("{prefix}_UNSPECIFIED")));
    }
}

#[test]
fn every_mutation_has_an_idempotency_key_and_every_list_has_pages() {
    let messages = messages();
    let fields = |name: &str| -> BTreeSet<String> {
        let (_, message) = messages.iter().find(|(known, _)| known == name).unwrap();
        message.field.iter().map(|field| field.name().to_owned()).collect()
    };
    for rpc in services().into_iter().flat_map(|service| service.method) {
        let request = fields(rpc.input_type());
        let answer = fields(rpc.output_type());
        let reads = ["Get", "List", "Watch"].iter().any(|verb| rpc.name().starts_with(verb));
        if rpc.name().starts_with("List") {
            assert!(
                request.contains("page_size") && request.contains("page_token") && answer.contains("next_page_token"),
                "{}",
                rpc.name()
            );
        } else if !reads {
            let key = if rpc.name() == "SubmitResponse" { "submission_id" } else { "request_id" };
            assert!(request.contains(key), "{} needs {key}", rpc.name());
        }
    }
}

#[test]
fn a_mutation_of_a_project_takes_an_etag() {
    for (name, message) in messages() {
        let fields: BTreeSet<_> = message.field.iter().map(prost_types::FieldDescriptorProto::name).collect();
        let mutates_a_project = name.starts_with(".ctms.project.") && fields.contains("request_id");
        if mutates_a_project && message.name() != "CreateProjectRequest" {
            assert!(fields.contains("etag"), "{name}");
        }
    }
}

#[test]
fn what_other_programs_read_keeps_its_number() {
    let messages = messages();
    let number = |message: &str, field: &str| {
        let (_, found) = messages.iter().find(|(name, _)| name.ends_with(&format!(".{message}"))).unwrap();
        found.field.iter().find(|candidate| candidate.name() == field).unwrap().number()
    };
    assert_eq!(number("StartProjectRequest", "project_id"), 1);
    assert_eq!(number("StartProjectResponse", "success"), 1);
    assert_eq!(number("StartProjectResponse", "project"), 2);
}
