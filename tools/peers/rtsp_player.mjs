// Plays by clients of RTSP from npm until so many packets of the picture have come: `rtsp_player.mjs URL TRANSPORT PACKETS`.
//
// By UDP with rtsp-client, which speaks RTSP and leaves media to whoever uses it; interleaved (tcp) with media-stream-library,
// of a maker of cameras, which knows no other transport. Each packet is written out, as a line of hex.

import { createSocket } from "node:dgram";
import dns from "node:dns";
import { once } from "node:events";
import { createRequire } from "node:module";

const INSTALLED = new URL("../../.cache/npm/node_modules/", import.meta.url); // by tools/setup

const [url, transport, wanted] = process.argv.slice(2);
let missing = Number(wanted);
let isEnough;
const enough = new Promise((resolve) => (isEnough = resolve));

function take(packet) {
  if (missing-- > 0) console.log(packet.toString("hex"));
  if (missing === 0) isEnough();
}

// -- by UDP

async function playByUdp() {
  const { default: Client } = await import(new URL("rtsp-client/lib/RTSPClient.js", INSTALLED));
  const client = new Client();
  client.on("error", (_, error) => {
    throw error;
  });
  await client.connect(url);
  const description = good(await client.describe()).body.plain;
  const sockets = [];
  for (const [, kind, control] of description.matchAll(/^m=(\w+)[^]*?^a=control:(\S+)/gm)) {
    const [data, reports] = await pair(url.includes("[") ? "udp6" : "udp4");
    sockets.push(data, reports);
    if (kind === "video") data.on("message", take);
    const ports = `${data.address().port}-${reports.address().port}`;
    const answer = good(await client.setup(control, `RTP/AVP;unicast;client_port=${ports}`));
    const session = answer.headers.find(({ name }) => name.toLowerCase() === "session");
    client.setSession(session.values[0].value.split(";")[0]);
  }
  good(await client.play());
  await enough;
  good(await client.teardown());
  client.close();
  for (const socket of sockets) socket.close();
}

function good(answer) {
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${answer.statusMessage}`);
  return answer;
}

// Sockets for data and for reports, of which the first has an even port and the second the next one (RFC 3550 s.11).
async function pair(family) {
  for (;;) {
    const data = await bound(family, 0);
    const { port } = data.address();
    const reports = port % 2 ? null : await bound(family, port + 1).catch(() => null);
    if (reports) return [data, reports];
    data.close();
  }
}

async function bound(family, port) {
  const socket = createSocket(family);
  socket.bind(port);
  await once(socket, "listening");
  return socket;
}

// -- interleaved

// The library takes an IPv6 address with its brackets for a name, and has that looked up.
const { lookup } = dns;
dns.lookup = (name, ...more) => lookup(name.replace(/^\[(.*)\]$/, "$1"), ...more);

async function playInterleaved() {
  globalThis.require = createRequire(import.meta.url); // the library is a module that holds older ones, and they call it
  const { components, pipelines } = await import(new URL("media-stream-library/dist/node.mjs", INSTALLED));
  const { MessageType, Sink, TcpSource, Tube } = components;
  const source = new TcpSource();
  const player = new pipelines.RtspPipeline({ uri: url });
  let isStopping = false;
  let picture;
  const stopped = new Promise((resolve) => {
    const look = ({ type }) => isStopping && type === MessageType.RTSP && resolve();
    player.insertBefore(player.rtsp, Tube.fromHandlers(look, undefined));
  });
  const sink = ({ type, channel, data }) => type === MessageType.RTP && channel === picture && take(data);
  player.append(Sink.fromHandler(sink));
  player.prepend(source);
  player.onSdp = ({ media }) => (picture = 2 * media.findIndex(({ type }) => type === "video"));
  player.rtsp.onError = (error) => {
    throw error;
  };
  player.rtsp.play();
  await enough;
  isStopping = true;
  player.rtsp.stop();
  await stopped;
  source.outgoing.end();
}

await { udp: playByUdp, tcp: playInterleaved }[transport]();
