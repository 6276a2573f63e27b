//! Patients answer in bursts: far more at once than the intake holds, and a kill in the middle.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use contracts::epro::v1 as epro;
use libtest_mimic::Trial;
use testkit::{
    cluster::{Cluster, INSTRUMENT, LifeState, Service, Stack, StudyShape, request_id},
    scenario::scenario,
};
use tonic::Code;

const CAPACITY: usize = 20;
const SUBMISSIONS: usize = 10 * CAPACITY;

pub(crate) fn scenarios() -> Vec<Vec<Trial>> {
    vec![
        scenario(
            "a_burst_of_ten_times_the_intake_with_a_kill_stores_each_ok_exactly_once",
            &[Stack::SQLITE_KAFKA, Stack::POSTGRES_KAFKA],
        )
        .with(Service::Epro, "intake-capacity", &CAPACITY.to_string())
        .shows(burst_with_a_kill),
    ]
}

async fn burst_with_a_kill(cluster: &mut Cluster) -> Result<()> {
    let shape = StudyShape { sites: 1, subjects: SUBMISSIONS };
    let study = cluster.prepare_study(shape).await?;
    cluster.start_project(&study.id, &request_id()).await?;
    cluster.wait_state(Service::Epro, &study.id, LifeState::Active).await;
    let page = epro::ListAssignmentsRequest { study_id: study.id.clone(), page_size: 1_000, ..Default::default() };
    let assignments = cluster.epro()?.list_assignments(page).await?.into_inner().assignments;
    ensure!(assignments.len() == SUBMISSIONS, "{} assignments", assignments.len());

    let mut calls = tokio::task::JoinSet::new();
    for assignment in assignments {
        let mut client = cluster.epro()?;
        let request = epro::SubmitResponseRequest {
            submission_id: format!("submission-{}", assignment.assignment_id),
            study_id: study.id.clone(),
            assignment_id: assignment.assignment_id,
            subject_id: assignment.subject_id,
            instrument_id: INSTRUMENT.to_owned(),
            answers: Some(prost_types::Struct::default()),
        };
        calls.spawn(async move {
            let answer = client.submit_response(request.clone()).await;
            (request, answer.map(tonic::Response::into_inner))
        });
    }
    let mut accepted = BTreeMap::new();
    let mut unanswered = Vec::new();
    let mut full = 0;
    let mut killed = false;
    while let Some(call) = calls.join_next().await {
        let (request, answer) = call?;
        match answer {
            Ok(answer) => {
                accepted.insert(request.submission_id, answer.response_id);
            }
            Err(status) => {
                if status.code() == Code::ResourceExhausted {
                    full += 1;
                }
                unanswered.push(request);
            }
        }
        if !killed && accepted.len() >= CAPACITY / 2 {
            cluster.kill9(Service::Epro)?;
            killed = true;
        }
    }
    ensure!(killed, "the burst was over before the kill: {} OK, {full} full", accepted.len());
    cluster.restart(Service::Epro).await?;
    let stored = responses(cluster, &study.id).await?;
    for (submission, response) in &accepted {
        ensure!(
            stored.get(submission) == Some(response),
            "{submission} was answered OK and is stored as {:?}",
            stored.get(submission)
        );
    }
    // What got no OK is sent again, as a client would, until each is answered once.
    let mut client = cluster.epro()?;
    for request in unanswered {
        let submission = request.submission_id.clone();
        let answer = submit_until_ok(&mut client, request).await?;
        accepted.insert(submission, answer.response_id);
    }
    let stored = responses(cluster, &study.id).await?;
    ensure!(stored == accepted, "{} are stored, {} were answered OK", stored.len(), accepted.len());
    Ok(())
}

async fn submit_until_ok(
    client: &mut epro::epro_service_client::EproServiceClient<tonic::transport::Channel>,
    request: epro::SubmitResponseRequest,
) -> Result<epro::SubmitResponseResponse> {
    for _ in 0..200 {
        match client.submit_response(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if matches!(status.code(), Code::ResourceExhausted | Code::Unavailable) => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Err(status) => return Err(status).context("SubmitResponse again"),
        }
    }
    anyhow::bail!("{} is never taken", request.submission_id)
}

/// Stored responses by submission; a submission stored twice is an error.
async fn responses(cluster: &Cluster, study_id: &str) -> Result<BTreeMap<String, String>> {
    let page = epro::ListResponsesRequest { study_id: study_id.to_owned(), page_size: 1_000, ..Default::default() };
    let mut stored = BTreeMap::new();
    for response in cluster.epro()?.list_responses(page).await?.into_inner().responses {
        let twice = stored.insert(response.submission_id.clone(), response.response_id);
        ensure!(twice.is_none(), "{} is stored twice", response.submission_id);
    }
    Ok(stored)
}
