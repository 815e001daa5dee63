// What an app does so that it misses nothing, by the rule of docs/protocol.md: counts per room, and asks `sync`.
export class Follower {
  constructor(socket, take) {
    this.socket = socket;
    this.take = take; // is given every fact once, in order
    this.at = new Map();
    socket.on("connected", (said) => this.connected(said));
    socket.onAny((event, payload) => event !== "connected" && payload?.seq !== undefined && this.fact(event, payload));
  }

  connected(said) {
    for (const { room, epoch, seq } of [said, ...said.jobs]) {
      if (!this.at.has(room)) this.at.set(room, { epoch, seq });
    }
    this.sync([...this.at.keys()]);
  }

  fact(event, payload) {
    const { room, epoch, seq } = payload;
    const known = this.at.get(room) ?? { epoch, seq: seq - 1 };
    if (epoch === known.epoch && seq <= known.seq) return;
    if (epoch !== known.epoch || seq !== known.seq + 1) return this.sync([room]);
    this.at.set(room, { epoch, seq });
    this.take(event, payload);
  }

  async sync(rooms) {
    const asked = rooms.map((room) => [room, this.at.get(room).epoch, this.at.get(room).seq]);
    const answer = await this.socket.timeout(5_000).emitWithAck("sync", { rooms: asked }).catch(() => ({ ok: false }));
    for (const each of answer.ok ? answer.rooms : []) {
      if (each.error) continue;
      for (const [event, payload] of each.events) this.fact(event, payload);
      if (!each.recovered) this.at.set(each.room, { epoch: each.epoch, seq: each.seq });
    }
  }
}
