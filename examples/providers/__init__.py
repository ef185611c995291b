"""Engines that none of us wrote, as providers: what they say of their progress goes to a progress callback.

    git_clone          libgit2, by pygit2: clones and fetches
    curl_download      libcurl, by pycurl: downloads
    offlineimap_sync   OfflineIMAP: mail
    answers            what a host answers, and what an engine does about it
    gate               lets no call through after the last

    servers            `git daemon` and a server of HTTP on 127.0.0.1, for tests and captures
    scenarios          good and failing runs, each with a server of its own
    capture            records them: python -m examples.providers.capture -o FOLDER

README.md says how each engine's notions become calls.
"""
