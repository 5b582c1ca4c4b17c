// The flows of the official package for Node; prints what came as one JSON object. Arguments: the address and the key.
import OpenAI from "openai";

const [url, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const ask = { model: "support", messages: [{ role: "user", content: "hello" }] };
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const told = {};

const whole = await client.chat.completions.create(ask);
told.whole = [whole.choices[0].message.content, whole.model, whole._request_id !== undefined];

let text = "";
const options = { include_usage: true };
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: options })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  told.usage = chunk.usage ?? told.usage;
}
told.stream = text;

const first = await client.chat.completions.stream({ ...ask, tools }).finalChatCompletion();
const call = first.choices[0].message.tool_calls[0];
told.tool = [first.choices[0].finish_reason, call.function.name, JSON.parse(call.function.arguments)];
const result = { role: "tool", tool_call_id: call.id, content: "cold" };
const messages = [...ask.messages, first.choices[0].message, result];
const second = await client.chat.completions.create({ model: "support", messages, tools });
told.second = second.choices[0].message.content;

const response = await client.responses.create({ model: "support", input: "hello" });
told.response = response.output_text;
const events = [];
for await (const event of await client.responses.create({ model: "support", input: "hello", stream: true })) {
  events.push(event.type);
}
told.events = [events[0], events.at(-1)];

told.errors = [];
for (const [key, model] of [[apiKey, "nope"], ["sk-other", "support"]]) {
  try {
    await client.withOptions({ apiKey: key }).chat.completions.create({ ...ask, model });
  } catch (error) {
    told.errors.push([error.constructor.name, error.status, error.code, Boolean(error.requestID)]);
  }
}
try {
  for await (const _ of await client.chat.completions.create({ ...ask, model: "broken", stream: true })) {
    continue;
  }
} catch (error) {
  told.errors.push([error.constructor.name, error.code]);
}
console.log(JSON.stringify(told));
