"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // What is linked to is opened.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();

  // The failing call of a sequence that is wider than its place is moved into sight.
  for (const lanes of all(".failure .lanes")) {
    const place = lanes.parentElement, failing = lanes.querySelector(".failing rect");
    const center = () => {
      if (failing) place.scrollLeft = Number(failing.getAttribute("x")) - place.clientWidth * 0.6;
    };
    place.closest("details").addEventListener("toggle", center);
    center();
  }

  // Copy buttons; where there is no clipboard the text is selected.
  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  for (const button of all("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const node = document.getElementById(button.dataset.copy);
      let copied = true;
      try {
        await navigator.clipboard.writeText(node.textContent);
      } catch {
        select(node);
        copied = document.execCommand("copy");
      }
      button.textContent = copied ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // One tooltip, beside what is pointed at or focused.
  const tip = document.getElementById("tip");
  let told = null;
  const placeTip = () => {
    if (!told) return;
    const at = told.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(at.left, 8), innerWidth - own.width - 8);
    const above = at.top - own.height - 8;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };
  const showTip = (node) => {
    told = node;
    tip.textContent = node.dataset.tip;
    tip.hidden = false;
    placeTip();
  };
  const hideTip = () => {
    told = null;
    tip.hidden = true;
  };
  addEventListener("scroll", placeTip, true);

  // Calls in the lanes: pointed at they tell, chosen they open their row in the list.
  for (const call of all(".lanes .call")) {
    const row = document.getElementById(call.dataset.row);
    const mark = (on) => {
      row.classList.toggle("current", on);
      call.classList.toggle("current", on);
    };
    const enter = () => { mark(true); showTip(call); };
    const leave = () => { mark(false); hideTip(); };
    call.addEventListener("pointerenter", enter);
    call.addEventListener("pointerleave", leave);
    call.addEventListener("focus", enter);
    call.addEventListener("blur", leave);
    const choose = () => {
      const details = row.querySelector("details");
      details.open = true;
      row.scrollIntoView({ block: "nearest" });
    };
    call.addEventListener("click", choose);
    call.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose();
      } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        const calls = all(".call", call.ownerSVGElement);
        const next = calls[calls.indexOf(call) + (event.key === "ArrowRight" ? 1 : -1)];
        if (next) {
          event.preventDefault();
          next.focus();
        }
      } else if (event.key === "Escape") {
        hideTip();
      }
    });
  }

  // Charts: the value at the pointer, or at where the arrow keys have gone.
  const time = (seconds) => {
    if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
    const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
    const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24;
    const minutes = Math.floor(whole / 60) % 60;
    if (days) return `${days}d ${hours}:${pad(minutes)}`;
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  };
  for (const chart of all(".chart")) {
    const points = JSON.parse(chart.dataset.points), places = JSON.parse(chart.dataset.places);
    const cursor = chart.querySelector(".cursor");
    const [line, circle] = cursor.children;
    const output = chart.parentElement.querySelector("output");
    let at = points.length - 1;
    const show = (index) => {
      at = Math.min(Math.max(index, 0), points.length - 1);
      const [x, y] = places[at], [seconds, value] = points[at];
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
      cursor.style.visibility = "visible";
      output.textContent = `${value.toLocaleString("en", { maximumFractionDigits: 1 })} at ${time(seconds)}`;
    };
    const hide = () => {
      cursor.style.visibility = "hidden";
      output.textContent = output.dataset.told;
    };
    chart.addEventListener("pointermove", (event) => {
      const matrix = chart.getScreenCTM();
      const x = (event.clientX - matrix.e) / matrix.a;
      let best = 0;
      for (let i = 0; i < places.length; i++) {
        if (places[i][0] <= x || Math.abs(places[i][0] - x) < Math.abs(places[best][0] - x)) best = i;
      }
      show(best);
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) show(at); });
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.length - 1 };
      if (event.key in moves) {
        event.preventDefault();
        show(moves[event.key]);
      } else if (event.key === "Escape") {
        hide();
      }
    });
  }
})();
