// A line to a server that can be lost as phones lose theirs: seen by both ends, or by the phone alone.
import net from "node:net";

export class Line {
  constructor(host, port) {
    this.pairs = new Set();
    this.open = true;
    this.server = net.createServer((near) => this.pass(near, host, port));
  }

  async listen() {
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  pass(near, host, port) {
    near.on("error", () => {});
    if (!this.open) return near.destroy();
    const far = net.connect(port, host);
    far.on("error", () => {});
    const pair = { near, far, ended: new Promise((done) => far.on("close", done)) };
    this.pairs.add(pair);
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => near.destroyed || near.write(data));
    near.on("close", () => pair.isHeld || far.destroy());
    far.on("close", () => (near.destroy(), this.pairs.delete(pair)));
  }

  // Nobody gets through any more. The server sees it, or believes in the old connections until its pings time out:
  // then what is returned is fulfilled when it has given them up.
  lose({ serverSees }) {
    this.open = false;
    const lost = [...this.pairs];
    for (const pair of lost) {
      pair.isHeld = !serverSees;
      pair.near.destroy();
      if (serverSees) pair.far.destroy();
    }
    return Promise.all(lost.map((pair) => pair.ended));
  }

  mend() {
    this.open = true;
  }

  close() {
    this.server.close();
    for (const { near, far } of this.pairs) near.destroy(), far.destroy();
  }
}
