// A life through the AWS SDK for JavaScript, which finds the services and keys in its environment.
// Says what it saw as one line of JSON; tests/clients/test_javascript_sdk.py judges it.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import * as control from "@aws-sdk/client-personalize";
import { PersonalizeEventsClient, PutEventsCommand } from "@aws-sdk/client-personalize-events";
import { GetRecommendationsCommand, PersonalizeRuntimeClient } from "@aws-sdk/client-personalize-runtime";

const { campaignArn, trackingId, schema } = JSON.parse(process.argv[2]);
const personalize = new control.PersonalizeClient({});
const name = `js-${randomUUID().slice(0, 8)}`;
const seen = {};

async function until(look, what) {
  for (const end = Date.now() + 60_000; Date.now() < end; await pause(100)) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`waited in vain for ${what}`);
}

const describe = (arn) => personalize.send(new control.DescribeDatasetGroupCommand({ datasetGroupArn: arn }));

const { datasetGroupArn } = await personalize.send(new control.CreateDatasetGroupCommand({ name }));
seen.group = await until(async () => {
  const { datasetGroup } = await describe(datasetGroupArn);
  return datasetGroup.status === "ACTIVE" && datasetGroup;
}, "the dataset group");
seen.isDate = seen.group.creationDateTime instanceof Date;

seen.listed = [];
for await (const page of control.paginateListDatasetGroups({ client: personalize, pageSize: 1 }, {})) {
  seen.listed.push(...page.datasetGroups.map((group) => group.datasetGroupArn));
}

const { schemaArn } = await personalize.send(new control.CreateSchemaCommand({ name, schema }));
seen.schema = (await personalize.send(new control.DescribeSchemaCommand({ schemaArn }))).schema.schema;

const { solutionArn } = await personalize.send(
  new control.CreateSolutionCommand({
    name,
    datasetGroupArn,
    recipeArn: "arn:aws:personalize:::recipe/aws-hrnn",
    performHPO: true,
    performAutoTraining: false,
    solutionConfig: {
      algorithmHyperParameters: { hidden_dimension: "55" },
      hpoConfig: {
        algorithmHyperParameterRanges: {
          integerHyperParameterRanges: [{ name: "bptt", minValue: 20, maxValue: 40 }],
          categoricalHyperParameterRanges: [{ name: "recency_mask", values: ["true", "false"] }],
        },
      },
    },
  }),
);
seen.solution = (await personalize.send(new control.DescribeSolutionCommand({ solutionArn }))).solution;

// The SDK writes properties that are given as an object down as JSON itself, and times with milliseconds.
const event = { eventType: "watch", itemId: "i1", sentAt: new Date(), properties: { deviceKind: "tv" } };
const put = new PutEventsCommand({ trackingId, userId: "u-js", sessionId: "s", eventList: [event] });
seen.put = (await new PersonalizeEventsClient({}).send(put)).$metadata.httpStatusCode;
const ask = new GetRecommendationsCommand({ campaignArn, userId: "u-js", numResults: 3 });
seen.items = (await new PersonalizeRuntimeClient({}).send(ask)).itemList;

seen.refusals = [];
for (const command of [
  new control.DeleteDatasetGroupCommand({ datasetGroupArn }),
  new control.CreateDatasetGroupCommand({ name }),
  new control.DescribeCampaignCommand({ campaignArn: `${campaignArn}-never` }),
]) {
  await personalize.send(command).catch((refusal) => {
    seen.refusals.push([refusal.name, refusal instanceof control.PersonalizeServiceException, refusal.message]);
  });
}

await personalize.send(new control.DeleteSolutionCommand({ solutionArn }));
await personalize.send(new control.DeleteSchemaCommand({ schemaArn }));
await until(async () => {
  try {
    await personalize.send(new control.DeleteDatasetGroupCommand({ datasetGroupArn }));
    return true;
  } catch (refusal) {
    if (refusal.name === "ResourceInUseException") return false; // the solution is still going
    throw refusal;
  }
}, "the end of the solution");
seen.gone = await until(
  () => describe(datasetGroupArn).then(() => false, (refusal) => refusal.name),
  "the end of the dataset group",
);
console.log(JSON.stringify({ ...seen, datasetGroupArn, solutionArn, schemaArn }));
