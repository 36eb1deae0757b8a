// Search without a server: a page that was opened from the disk may start no worker, so an iframe stands in for one.
// As with a worker, messages are copies and arrive later: the search box loses its words where both sides share an object.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.body.appendChild(document.createElement("iframe"));
      this.frame.hidden = true;
      const inside = this.frame.contentWindow;
      this.ready = new Promise((loaded, failed) => {
        const script = inside.document.createElement("script");
        inside.postMessage = (message) => {
          const data = structuredClone(message);
          setTimeout(() => this.onmessage?.(new MessageEvent("message", { data })));
        };
        script.onload = loaded;
        script.onerror = failed;
        script.src = new URL(url, location);
        inside.document.body.appendChild(script);
      });
    }
    postMessage(message) {
      const data = structuredClone(message);
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
